// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <vector>

#include "snapshot/agent_link.h"
#include "snapshot/agent_tree.h"

namespace atl::snapshot {
namespace {

using protocol::FrameType;

constexpr size_t kMaxLevels = 512;
constexpr uint64_t kMaxEntries = 20'000'000;

// Whether records are those of one tree.
class WalkCheck {
 public:
  Result<void> See(const protocol::TreeRecord& record) {
    if (const auto* entry = std::get_if<protocol::TreeEntry>(&record)) return SeeEntry(*entry);
    if (const auto* skipped = std::get_if<protocol::SkippedEntry>(&record)) {
      ++seen_.skipped;
      return SeeName(skipped->name);
    }
    if (!std::holds_alternative<protocol::LeaveDir>(record)) {
      return BadAgent("a record that is no part of a walk");
    }
    if (last_names_.empty()) return BadAgent("a directory is left that was not entered");
    last_names_.pop_back();
    return {};
  }

  Result<void> SeeEnd(const protocol::WalkEnd& end) const {
    if (!began_ || !last_names_.empty()) return BadAgent("a walk ends inside a directory");
    if (end != seen_) return BadAgent("a walk had another number of entries than it says");
    return {};
  }

 private:
  Result<void> SeeEntry(const protocol::TreeEntry& entry) {
    bool is_dir = S_ISDIR(entry.meta.mode);
    if (!began_) {
      if (!is_dir || !entry.name.empty()) return BadAgent("a walk begins with no directory");
      began_ = true;
      last_names_.emplace_back();
      return {};
    }
    ++seen_.entries;
    TRY(SeeName(entry.name));
    if (!is_dir) return {};
    if (last_names_.size() > kMaxLevels) return BadAgent("directories are nested too deeply");
    last_names_.emplace_back();
    return {};
  }

  Result<void> SeeName(const std::string& name) {
    if (last_names_.empty()) return BadAgent("an entry outside of the directory");
    if (name <= last_names_.back()) return BadAgent("names are not in order");
    if (seen_.entries + seen_.skipped > kMaxEntries) {
      return Fail(Code::kTooLarge, "the directory holds more than 20,000,000 entries");
    }
    last_names_.back() = name;
    return {};
  }

  bool began_ = false;
  std::vector<std::string> last_names_;  // by level
  protocol::WalkEnd seen_;
};

}  // namespace

Result<protocol::WalkEnd> AgentTree::Walk(
    const protocol::Walk& request,
    const std::function<Result<void>(protocol::TreeRecord record)>& on_record,
    std::stop_token stop) {
  ASSIGN(auto link, AgentLink::Open(connect_, idle_limit_, std::move(stop)));
  TRY(link->Send(request));
  WalkCheck check;
  while (true) {
    ASSIGN(protocol::Frame frame, link->Next());
    if (frame.type == FrameType::kWalkEnd) {
      ASSIGN(auto end, protocol::Decode<protocol::WalkEnd>(frame.payload));
      TRY(check.SeeEnd(end));
      return end;
    }
    if (frame.type != FrameType::kTree) return BadAgent("a frame that is no part of a walk");
    protocol::RecordReader records(frame.payload);
    while (true) {
      auto record = records.Next();
      if (!record) return BadAgent(record.error().message);
      if (!*record) break;
      TRY(check.See(**record));
      TRY(on_record(*std::move(*record)));
    }
  }
}

}  // namespace atl::snapshot
