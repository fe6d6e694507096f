// SPDX-License-Identifier: Apache-2.0
// XML as S3 answers it: small documents from a server that is not trusted. No document types (and
// so no entities of its own), bounded in size, depth and count.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace atl::blob {

struct XmlElement {
  std::string name;
  std::string text;
  std::vector<XmlElement> children;

  // The first child of this name; null without one.
  const XmlElement* Find(std::string_view name) const;
  // Its text; empty without one.
  std::string_view Text(std::string_view name) const;
};

// A document whose outermost element is `root`. kBadGateway (STORE_BAD_ANSWER) otherwise.
Result<XmlElement> ParseXml(std::string_view text, std::string_view root);

std::string XmlEscape(std::string_view text);

}  // namespace atl::blob
