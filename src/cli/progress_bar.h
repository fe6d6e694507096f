// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace atl::cli {

// "1.4 MiB"
std::string HumanBytes(double bytes);

// One line on stderr that is drawn again and again; nothing when that is no terminal.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // A "progress" event of the daemon.
  void Show(std::string_view event);
  void Clear();

 private:
  bool terminal_;
  bool shown_ = false;
};

}  // namespace atl::cli
