// SPDX-License-Identifier: Apache-2.0
// Archives from anybody: nothing may crash, and no name that is accepted leads out of the
// directory. What is accepted must come out the same when it is written again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "protocol/tar.h"

namespace {

using namespace atl::protocol;

void Must(bool holds) {
  if (!holds) std::abort();
}

TarReader ReaderOf(std::string_view* rest) {
  return TarReader([rest](std::span<char> buffer) -> atl::Result<size_t> {
    size_t count = std::min(buffer.size(), rest->size());
    std::memcpy(buffer.data(), rest->data(), count);
    rest->remove_prefix(count);
    return count;
  });
}

void CheckPath(std::string_view path) {
  auto clean = CleanTarPath(path);
  Must(clean.has_value() && *clean == path);
}

void CheckAgain(const TarEntry& entry) {
  std::string header = TarHeader(entry);
  Must(header.size() % kTarBlock == 0);
  std::string_view rest = header;
  TarReader reader = ReaderOf(&rest);
  auto again = reader.Next();
  Must(again && *again && (**again).path == entry.path && (**again).size == entry.size);
  Must((**again).link == entry.link && (**again).type == entry.type);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  TarReader reader = ReaderOf(&rest);
  while (true) {
    auto entry = reader.Next();
    if (!entry || !*entry) return 0;
    CheckPath((**entry).path);
    if ((**entry).type == TarType::kHardLink) CheckPath((**entry).link);
    CheckAgain(**entry);
  }
}
