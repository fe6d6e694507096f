// SPDX-License-Identifier: Apache-2.0
// What reading and writing nodes have in common: words, bits and bounds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "repository/tree.h"

namespace atl::repository {

// NAME_MAX, PATH_MAX and the limits of xattr(7).
inline constexpr size_t kMaxName = 255;
inline constexpr size_t kMaxLinkTarget = 4096;
inline constexpr size_t kMaxXattrName = 255;
inline constexpr size_t kMaxXattrValue = 64U << 10U;
inline constexpr size_t kMaxXattrs = 4096;
inline constexpr size_t kMaxXattrBytes = 4U << 20U;
inline constexpr uint64_t kMaxFileSize = 1ULL << 50U;
// A file of kMaxFileSize cut into the smallest chunks.
inline constexpr uint64_t kMaxContent = kMaxFileSize >> 19U;

std::string_view NodeTypeName(NodeType type);
std::optional<NodeType> ParseNodeType(std::string_view name);

// Go's os.FileMode. https://pkg.go.dev/io/fs#FileMode
uint32_t GoMode(NodeType type, uint16_t permissions);
uint16_t PermissionsOfGoMode(uint64_t mode);

// Not empty, "." or "..", without '/' and NUL, at most kMaxName bytes.
bool IsNodeName(std::string_view name);

Unexpected CorruptTree(std::string message);

}  // namespace atl::repository
