// SPDX-License-Identifier: Apache-2.0
#include <boost/json/basic_parser_impl.hpp>
#include <utility>

#include "repository/node_builder.h"
#include "repository/node_json.h"
#include "repository/tree.h"

namespace atl::repository {
namespace {

using boost::json::error_code;
using Member = NodeBuilder::Member;

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxKey = 64;

std::string_view View(boost::json::string_view text) { return {text.data(), text.size()}; }

// What the parser calls. A false return ends it; `error` says why.
struct Handler {
  // Of what is unknown too: a text may not be larger than a blob.
  static constexpr size_t max_object_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_array_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_key_size = 1U << 20U;
  static constexpr size_t max_string_size = 16U << 20U;

  explicit Handler(TreeDecoder::OnNode fn) : on_node(std::move(fn)) {}

  enum class Place : uint8_t { kStart, kTop, kNodes, kNode, kContent, kXattrs, kXattr, kEnd };
  enum class XattrMember : uint8_t { kUnknown, kName, kValue };

  bool Check(Result<void> result, error_code& ec) {
    if (result) return true;
    error = std::move(result).error();
    ec = boost::json::error::input_error;
    return false;
  }
  bool Wrong(error_code& ec) {
    return Check(CorruptTree("a member is of another type than it should be"), ec);
  }

  // How many bytes of a text in this place matter: 0 for what is not looked at.
  size_t Limit() const {
    if (skip > 0) return 0;
    if (place == Place::kNode) return NodeBuilder::TextLimit(member);
    if (place == Place::kContent) return 64;
    if (place != Place::kXattr) return 0;
    switch (xattr_member) {
      case XattrMember::kName:
        return kMaxXattrName;
      case XattrMember::kValue:
        return (kMaxXattrValue + 2) / 3 * 4;
      case XattrMember::kUnknown:
        return 0;
    }
    return 0;
  }
  // True for a value that nobody looks at.
  bool Ignored() const {
    if (skip > 0) return true;
    switch (place) {
      case Place::kTop:
        return !at_nodes;
      case Place::kNode:
        return member == Member::kUnknown;
      case Place::kXattr:
        return xattr_member == XattrMember::kUnknown;
      default:
        return false;
    }
  }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }

  bool on_object_begin(error_code& ec) {
    if (Ignored()) {
      ++skip;
    } else if (place == Place::kStart) {
      place = Place::kTop;
    } else if (place == Place::kNodes) {
      place = Place::kNode;
      node.Begin();
    } else if (place == Place::kXattrs) {
      place = Place::kXattr;
      node.BeginXattr();
    } else {
      return Wrong(ec);
    }
    return true;
  }
  bool on_object_end(size_t, error_code& ec) {
    if (skip > 0) {
      --skip;
      return true;
    }
    if (place == Place::kXattr) {
      place = Place::kXattrs;
      return Check(node.EndXattr(), ec);
    }
    if (place == Place::kTop) {
      place = Place::kEnd;
      return true;
    }
    place = Place::kNodes;
    return Check(Emit(), ec);
  }
  Result<void> Emit() {
    ASSIGN(Node made, node.Finish(previous));
    previous = made.name;
    return on_node(std::move(made));
  }

  bool on_array_begin(error_code& ec) {
    if (Ignored()) {
      ++skip;
    } else if (place == Place::kTop && !seen_nodes) {
      place = Place::kNodes;
      seen_nodes = true;
    } else if (place == Place::kNode && member == Member::kContent) {
      place = Place::kContent;
    } else if (place == Place::kNode && member == Member::kXattrs) {
      place = Place::kXattrs;
    } else {
      return Wrong(ec);
    }
    return true;
  }
  bool on_array_end(size_t, error_code&) {
    if (skip > 0) {
      --skip;
    } else {
      place = place == Place::kNodes ? Place::kTop : Place::kNode;
    }
    return true;
  }

  bool on_key_part(boost::json::string_view part, size_t, error_code&) {
    if (skip == 0 && text.size() <= kMaxKey) text.append(View(part).substr(0, kMaxKey + 1));
    return true;
  }
  bool on_key(boost::json::string_view part, size_t, error_code& ec) {
    if (skip > 0) return true;
    std::string_view key = View(part);
    if (!text.empty()) {
      text.append(key.substr(0, kMaxKey));
      key = text;
    }
    bool fine = TakeKey(key, ec);
    text.clear();
    return fine;
  }
  bool TakeKey(std::string_view key, error_code& ec) {
    if (place == Place::kTop) {
      at_nodes = key == "nodes";
    } else if (place == Place::kXattr) {
      xattr_member = key == "name"    ? XattrMember::kName
                     : key == "value" ? XattrMember::kValue
                                      : XattrMember::kUnknown;
    } else {
      member = NodeBuilder::MemberOf(key);
      return Check(node.See(member), ec);
    }
    return true;
  }

  bool on_string_part(boost::json::string_view part, size_t, error_code& ec) {
    size_t limit = Limit();
    if (limit == 0) return true;
    if (text.size() + part.size() > limit) return TooLong(ec);
    text.append(View(part));
    return true;
  }
  bool on_string(boost::json::string_view part, size_t, error_code& ec) {
    if (Ignored()) return true;
    size_t limit = Limit();
    if (limit == 0) return Wrong(ec);
    if (text.size() + part.size() > limit) return TooLong(ec);
    if (text.empty()) return TakeText(View(part), ec);
    text.append(View(part));
    bool fine = TakeText(text, ec);
    text.clear();
    return fine;
  }
  bool TooLong(error_code& ec) { return Check(CorruptTree("a text is too long"), ec); }
  bool TakeText(std::string_view value, error_code& ec) {
    switch (place) {
      case Place::kNode:
        return Check(node.Text(member, value), ec);
      case Place::kContent:
        return Check(node.Content(value), ec);
      default:
        return Check(
            xattr_member == XattrMember::kName ? node.XattrName(value) : node.XattrValue(value),
            ec);
    }
  }

  bool on_number_part(boost::json::string_view, error_code&) { return true; }
  bool on_uint64(uint64_t value, boost::json::string_view, error_code& ec) {
    if (Ignored()) return true;
    if (place != Place::kNode || !NodeBuilder::IsNumber(member)) return Wrong(ec);
    return Check(node.Number(member, value), ec);
  }
  bool on_int64(int64_t value, boost::json::string_view raw, error_code& ec) {
    if (value < 0 && !Ignored()) return Wrong(ec);
    return on_uint64(static_cast<uint64_t>(value), raw, ec);
  }
  bool on_double(double, boost::json::string_view, error_code& ec) {
    return Ignored() ? true : Wrong(ec);
  }
  bool on_bool(bool, error_code& ec) { return Ignored() ? true : Wrong(ec); }
  // As good as a member that is not there, but inside a list.
  bool on_null(error_code& ec) {
    if (Ignored() || place == Place::kNode || place == Place::kXattr) return true;
    if (place != Place::kTop) return Wrong(ec);
    seen_nodes = true;
    return true;
  }
  bool on_comment_part(boost::json::string_view, error_code&) { return true; }
  bool on_comment(boost::json::string_view, error_code&) { return true; }

  TreeDecoder::OnNode on_node;
  Error error;
  NodeBuilder node;
  std::string previous;  // name
  std::string text;      // that came in parts so far
  size_t skip = 0;       // levels inside a value that nobody looks at
  Place place = Place::kStart;
  Member member = Member::kUnknown;
  XattrMember xattr_member = XattrMember::kUnknown;
  bool at_nodes = false;
  bool seen_nodes = false;
};

boost::json::parse_options Options() {
  boost::json::parse_options options;
  options.max_depth = kMaxDepth;
  return options;
}

}  // namespace

struct TreeDecoder::Impl {
  explicit Impl(OnNode on_node) : parser(Options(), std::move(on_node)) {}

  Result<void> Write(std::string_view piece, bool more) {
    if (failed) return CorruptTree("reading goes on behind an error");
    error_code ec;
    size_t used = parser.done() ? 0 : parser.write_some(more, piece.data(), piece.size(), ec);
    if (ec) {
      failed = true;
      if (!parser.handler().error.message.empty()) {
        return std::unexpected(std::move(parser.handler().error));
      }
      return CorruptTree("not JSON: " + ec.message());
    }
    if (piece.find_first_not_of(" \t\r\n", used) != std::string_view::npos) {
      failed = true;
      return CorruptTree("something follows its end");
    }
    return {};
  }

  boost::json::basic_parser<Handler> parser;
  bool failed = false;
};

TreeDecoder::TreeDecoder(OnNode on_node) : impl_(std::make_unique<Impl>(std::move(on_node))) {}
TreeDecoder::~TreeDecoder() = default;

Result<void> TreeDecoder::Feed(std::string_view piece) {
  if (piece.empty()) return {};
  return impl_->Write(piece, true);
}

Result<void> TreeDecoder::Finish() {
  TRY(impl_->Write(" ", false));
  if (!impl_->parser.handler().seen_nodes) return CorruptTree("it has no nodes");
  return {};
}

Result<std::vector<Node>> DecodeTree(std::string_view json) {
  std::vector<Node> nodes;
  TreeDecoder decoder([&](Node node) -> Result<void> {
    nodes.push_back(std::move(node));
    return {};
  });
  TRY(decoder.Feed(json));
  TRY(decoder.Finish());
  return nodes;
}

}  // namespace atl::repository
