// SPDX-License-Identifier: Apache-2.0
// inotify on a directory and everything below it: which watch stands for which path, whatever is
// moved around meanwhile.
#pragma once

#include <sys/inotify.h>

#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/result.h"
#include "protocol/watch.h"
#include "sys/fd.h"

namespace atl::agent {

class WatchTree {
 public:
  using Emit = std::function<void(protocol::FileEvent event)>;

  // `request` must outlive it. `base`: the absolute path of the directory; `only`: the one name in
  // it that is watched, or "".
  WatchTree(const protocol::WatchFiles& request, std::string base, std::string only, Emit emit)
      : request_(request), base_(std::move(base)), only_(std::move(only)), emit_(std::move(emit)) {}

  // Watches the directory. WATCH_LIMIT_REACHED when the sandbox may not have so many.
  Result<void> Start();
  int fd() const { return inotify_.get(); }
  size_t directories() const { return dirs_.size(); }
  // What has happened, without waiting. False when the directory itself is gone. When the kernel
  // has lost events, one says so, and everything is watched anew: fd() is another one then.
  Result<bool> Read();
  // What was moved away and did not come back is forgotten.
  void ForgetMoved();

 private:
  struct Dir {
    int parent = -1;
    std::string name;
  };

  enum class Next { kGoOn, kStartAnew, kGone };
  Next Handle(const inotify_event& event);
  void HandleEntry(int parent, const inotify_event& event, const std::string& name);
  void HandleDir(int parent, const inotify_event& event, const std::string& name,
                 const std::string& path);
  bool IsWanted(const std::string& name, const std::string& path, bool directory) const;
  bool IsWatched(const std::string& name, const std::string& path) const;
  std::string PathOf(int dir) const;
  std::string Absolute(const std::string& path) const;
  // Watches a directory and what is below; with `tell`, what is found in it is told as made.
  int Add(int parent, const std::string& name, const std::string& path, bool tell, size_t depth);
  void Scan(int dir, const std::string& path, bool tell, size_t depth);
  void Place(int dir, int parent, const std::string& name);
  void Forget(int dir);
  // Forgets a directory and what is below, and watches them no more.
  void Remove(int dir);
  int Find(int parent, const std::string& name) const;

  const protocol::WatchFiles& request_;
  std::string base_;  // by its path: who holds a directory open never hears that it is gone
  std::string only_;
  Emit emit_;
  sys::Fd inotify_;
  int root_ = -1;
  int failure_ = 0;  // why the last directory could not be watched
  std::unordered_map<int, Dir> dirs_;
  std::map<std::pair<int, std::string>, int> by_name_;  // the same: parent and name to directory
  std::unordered_map<uint32_t, int> moved_;             // watches by the cookie of their move
};

}  // namespace atl::agent
