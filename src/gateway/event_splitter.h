// SPDX-License-Identifier: Apache-2.0
// Where events of an event stream end (WHATWG HTML, 9.2.5): at an empty line, however lines end.
#pragma once

#include <string>
#include <string_view>

namespace atl::gateway {

class EventSplitter {
 public:
  void Append(std::string_view bytes);
  // All whole events that are here, comments included; what is left is the beginning of one.
  std::string TakeWhole();
  size_t pending() const { return data_.size(); }

 private:
  std::string data_;
  size_t whole_ = 0;           // so many bytes of it are whole events
  bool line_empty_ = true;     // nothing stands on the current line
  bool after_return_ = false;  // a line feed now belongs to the line before
};

// Whether any of these events says that something happens: not a comment, nor what OpenCode sends
// all the time.
bool HasNews(std::string_view events);

}  // namespace atl::gateway
