// SPDX-License-Identifier: Apache-2.0
#include "blob/s3_xml.h"

#include <expat.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

namespace atl::blob {
namespace {

constexpr size_t kMaxBytes = 8UL << 20U;
constexpr size_t kMaxDepth = 12;
constexpr size_t kMaxElements = 100'000;

struct FreeParser {
  void operator()(XML_ParserStruct* parser) const { XML_ParserFree(parser); }
};

struct Builder {
  XML_Parser parser = nullptr;
  XmlElement document;  // its only child is the outermost element
  std::vector<XmlElement*> open{&document};
  size_t elements = 0;
  std::string problem;

  void Stop(std::string why) {
    problem = std::move(why);
    XML_StopParser(parser, XML_FALSE);
  }

  static Builder& Of(void* user) { return *static_cast<Builder*>(user); }
  static void OnStart(void* user, const char* name, const char**) {
    Builder& builder = Of(user);
    if (builder.open.size() > kMaxDepth) return builder.Stop("it is nested too deeply");
    if (++builder.elements > kMaxElements) return builder.Stop("it has too many elements");
    // What was pushed to a parent's children before is closed, so nobody points into them.
    auto& children = builder.open.back()->children;
    children.push_back({.name = name, .text = {}, .children = {}});
    builder.open.push_back(&children.back());
  }
  static void OnEnd(void* user, const char*) { Of(user).open.pop_back(); }
  static void OnText(void* user, const char* text, int size) {
    Of(user).open.back()->text.append(text, static_cast<size_t>(size));
  }
  static void OnDoctype(void* user, const char*, const char*, const char*, int) {
    Of(user).Stop("it has a document type");
  }
};

Unexpected Bad(std::string_view why) {
  return Fail(Code::kBadGateway, fmt::format("the store's answer is not understood: {}", why),
              "STORE_BAD_ANSWER");
}

}  // namespace

const XmlElement* XmlElement::Find(std::string_view wanted) const {
  auto found = std::ranges::find(children, wanted, &XmlElement::name);
  return found == children.end() ? nullptr : &*found;
}

std::string_view XmlElement::Text(std::string_view wanted) const {
  const XmlElement* element = Find(wanted);
  return element == nullptr ? std::string_view() : std::string_view(element->text);
}

Result<XmlElement> ParseXml(std::string_view text, std::string_view root) {
  if (text.size() > kMaxBytes) return Bad("it is too long");
  std::unique_ptr<XML_ParserStruct, FreeParser> parser(XML_ParserCreate(nullptr));
  if (parser == nullptr) return Fail(Code::kResourceExhausted, "no memory for an XML parser");
  Builder builder;
  builder.parser = parser.get();
  XML_SetUserData(parser.get(), &builder);
  XML_SetElementHandler(parser.get(), Builder::OnStart, Builder::OnEnd);
  XML_SetCharacterDataHandler(parser.get(), Builder::OnText);
  XML_SetStartDoctypeDeclHandler(parser.get(), Builder::OnDoctype);
  if (XML_Parse(parser.get(), text.data(), static_cast<int>(text.size()), XML_TRUE) !=
      XML_STATUS_OK) {
    if (!builder.problem.empty()) return Bad(builder.problem);
    return Bad(XML_ErrorString(XML_GetErrorCode(parser.get())));
  }
  XmlElement& element = builder.document.children.front();
  if (element.name != root) return Bad(fmt::format("it is no {}", root));
  return std::move(element);
}

std::string XmlEscape(std::string_view text) {
  std::string escaped;
  for (char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

}  // namespace atl::blob
