// SPDX-License-Identifier: Apache-2.0
// Extended attributes of files that change hands: those that name users and groups name others
// then.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace atl::oci {

struct IdShift {
  uint32_t from = 0;
  uint32_t to = 0;
  uint32_t count = 65536;
};

// An id outside of the range stays what it is.
inline uint32_t ShiftId(uint32_t id, const IdShift& shift) {
  return id >= shift.from && id - shift.from < shift.count ? id - shift.from + shift.to : id;
}

// The value of the attribute `name` for the new owner: access control lists and file capabilities.
std::string ShiftXAttribute(const std::string& name, std::string value, const IdShift& shift);

// Makes the attributes of `to` those of `from`, both open for reading.
Result<void> CopyXAttributes(int from, int to, const IdShift& shift);

}  // namespace atl::oci
