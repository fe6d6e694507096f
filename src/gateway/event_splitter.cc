// SPDX-License-Identifier: Apache-2.0
#include "gateway/event_splitter.h"

#include <algorithm>
#include <array>

namespace atl::gateway {
namespace {

// Their types, as they stand in the JSON of an event.
constexpr std::array<std::string_view, 2> kNoNews = {R"("type":"server.heartbeat")",
                                                     R"("type":"server.connected")"};

}  // namespace

void EventSplitter::Append(std::string_view bytes) {
  for (char c : bytes) {
    data_ += c;
    bool rest_of_end = c == '\n' && after_return_;
    after_return_ = c == '\r';
    if (rest_of_end) {
      if (whole_ + 1 == data_.size()) whole_ = data_.size();
    } else if (c == '\n' || c == '\r') {
      if (line_empty_) whole_ = data_.size();
      line_empty_ = true;
    } else {
      line_empty_ = false;
    }
  }
}

std::string EventSplitter::TakeWhole() {
  std::string events = data_.substr(0, whole_);
  data_.erase(0, whole_);
  whole_ = 0;
  return events;
}

bool HasNews(std::string_view events) {
  while (!events.empty()) {
    size_t end = std::min(events.find_first_of("\r\n"), events.size());
    std::string_view line = events.substr(0, end);
    events.remove_prefix(std::min(events.size(), end + 1));
    if (!line.starts_with("data:")) continue;
    bool idle = std::ranges::any_of(kNoNews, [line](std::string_view one) {
      return line.substr(0, 200).find(one) != std::string_view::npos;
    });
    if (!idle) return true;
  }
  return false;
}

}  // namespace atl::gateway
