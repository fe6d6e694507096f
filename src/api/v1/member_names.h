// SPDX-License-Identifier: Apache-2.0
// Misspelt members of an object within a body are told as those of the body are.
#pragma once

#include <span>
#include <string_view>

#include "api/v1/route.h"
#include "base/result.h"
#include "json/reader.h"

namespace atl::api {

// Whether the object of this name, where there is one, has no other fields than these.
// VALIDATION_FAILED.
Result<void> CheckMemberNames(std::span<const Field> fields, const json::Object& body,
                              std::string_view name);

}  // namespace atl::api
