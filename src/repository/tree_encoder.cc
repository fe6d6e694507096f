// SPDX-License-Identifier: Apache-2.0
// Members come in the order of restic's struct Node, escaped as Go's encoding/json does: restic
// refuses to rewrite a tree that it would have written otherwise.
#include <fmt/format.h>

#include <array>
#include <iterator>

#include "json/writer.h"
#include "repository/node_json.h"
#include "repository/tree.h"
#include "repository/utf8_rune.h"

namespace atl::repository {
namespace {

constexpr size_t kPiece = 64U << 10U;

void AppendUnsafe(std::string& out, const Rune& rune, std::string_view bytes) {
  switch (rune.value) {
    case '"':
    case '\\':
      out.push_back('\\');
      out.push_back(static_cast<char>(rune.value));
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  if (!rune.valid) {
    out += "\\ufffd";
  } else if (rune.value >= 0x80 && rune.value != 0x2028 && rune.value != 0x2029) {
    out.append(bytes);
  } else {
    fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<uint32_t>(rune.value));
  }
}

bool IsSafe(char c) {
  return c >= 0x20 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

// False when `text` is not UTF-8: what is not has become U+FFFD.
bool AppendGoString(std::string& out, std::string_view text) {
  bool valid = true;
  out.push_back('"');
  while (!text.empty()) {
    size_t safe = 0;
    while (safe < text.size() && IsSafe(text[safe])) ++safe;
    out.append(text.substr(0, safe));
    text.remove_prefix(safe);
    if (text.empty()) break;
    Rune rune = FirstRune(text);
    AppendUnsafe(out, rune, text.substr(0, rune.bytes));
    valid = valid && rune.valid;
    text.remove_prefix(rune.bytes);
  }
  out.push_back('"');
  return valid;
}

// Quoted.
void AppendId(std::string& out, const Id& id) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<char, 66> text;
  char* to = text.data();
  *to++ = '"';
  for (unsigned char byte : id.bytes) {
    *to++ = kDigits[byte >> 4U];
    *to++ = kDigits[byte & 15U];
  }
  *to = '"';
  out.append(text.data(), text.size());
}

void AppendNumber(std::string& out, std::string_view name, uint64_t value) {
  fmt::format_int digits(value);
  out.append(name).append(digits.data(), digits.size());
}

void AppendOptional(std::string& out, std::string_view name, uint64_t value) {
  if (value != 0) AppendNumber(out, name, value);
}

void AppendLinkTarget(std::string& out, std::string_view target) {
  if (target.empty()) return;
  out += R"(,"linktarget":)";
  if (AppendGoString(out, target)) return;
  out += R"(,"linktarget_raw":")";
  json::AppendBase64(out, target);
  out.push_back('"');
}

void AppendXattrs(std::string& out, const Xattrs& xattrs) {
  if (xattrs.empty()) return;
  out += R"(,"extended_attributes":[)";
  for (const auto& [name, value] : xattrs) {
    if (out.back() != '[') out.push_back(',');
    out += R"({"name":)";
    AppendGoString(out, name);
    out += R"(,"value":")";
    json::AppendBase64(out, value);
    out += R"("})";
  }
  out.push_back(']');
}

// An empty file has no content; what is no file has none to speak of.
void AppendContent(std::string& out, const Node& node) {
  if (node.type != NodeType::kFile) {
    out += R"(,"content":null)";
    return;
  }
  out += R"(,"content":[)";
  for (const Id& id : node.content) {
    if (out.back() != '[') out.push_back(',');
    AppendId(out, id);
  }
  out.push_back(']');
}

void AppendNode(std::string& out, const Node& node) {
  out += R"({"name":)";
  AppendGoString(out, QuoteName(node.name));
  out.append(R"(,"type":")").append(NodeTypeName(node.type)).push_back('"');
  AppendOptional(out, R"(,"mode":)", GoMode(node.type, node.permissions));
  std::string mtime = FormatTime(node.mtime);
  out.append(R"(,"mtime":")").append(mtime);
  out.append(R"(","atime":")").append(mtime);
  out.push_back('"');
  // What no snapshot should hold: see src/snapshot/known_files.h.
  if (node.ctime != Time()) {
    out.append(R"(,"ctime":")").append(FormatTime(node.ctime)).push_back('"');
  }
  AppendNumber(out, R"(,"uid":)", node.uid);
  AppendNumber(out, R"(,"gid":)", node.gid);
  AppendOptional(out, R"(,"inode":)", node.inode);
  AppendOptional(out, R"(,"size":)", node.size);
  AppendOptional(out, R"(,"links":)", node.links);
  AppendLinkTarget(out, node.link_target());
  AppendXattrs(out, node.xattrs());
  AppendOptional(out, R"(,"device":)", node.device);
  AppendContent(out, node);
  if (node.type == NodeType::kDirectory) {
    out += R"(,"subtree":)";
    AppendId(out, node.subtree);
  }
  out.push_back('}');
}

}  // namespace

Result<void> TreeEncoder::Add(const Node& node) {
  if (!IsNodeName(node.name) || (!first_ && node.name <= last_name_)) {
    return Fail(Code::kInternal, fmt::format("tree: cannot write \"{}\" behind \"{}\"",
                                             QuoteName(node.name), QuoteName(last_name_)));
  }
  last_name_ = node.name;
  buffer_ += first_ ? R"({"nodes":[)" : ",";
  first_ = false;
  AppendNode(buffer_, node);
  if (buffer_.size() < kPiece) return {};
  TRY(sink_(buffer_));
  buffer_.clear();
  return {};
}

Result<void> TreeEncoder::Finish() {
  if (first_) buffer_ += R"({"nodes":[)";
  buffer_ += "]}\n";
  TRY(sink_(buffer_));
  buffer_.clear();
  return {};
}

}  // namespace atl::repository
