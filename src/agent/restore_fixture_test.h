// SPDX-License-Identifier: Apache-2.0
// A client of restores and a directory to restore.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <string>
#include <vector>

#include "agent/agent_fixture_test.h"
#include "protocol/tree.h"

namespace atl::agent {

namespace fs = std::filesystem;
using protocol::Change;
using protocol::ChangeKind;

inline constexpr uint64_t kOldTime = 1'500'000'000;

inline protocol::EntryMeta FileMeta(uint32_t mode = 0644) {
  return {.mode = S_IFREG | mode, .mtime = {.seconds = kOldTime, .nanos = 7}};
}
inline protocol::EntryMeta DirMeta(uint32_t mode = 0755) {
  return {.mode = S_IFDIR | mode, .mtime = {.seconds = kOldTime, .nanos = 9}};
}
inline Change PutAt(const std::string& path, const std::string& staged) {
  return {.kind = ChangeKind::kPut, .path = path, .staged = staged, .meta = {}};
}
inline Change RemoveAtPath(const std::string& path) {
  return {.kind = ChangeKind::kRemove, .path = path, .staged = {}, .meta = {}};
}
inline Change MetaAt(const std::string& path, const protocol::EntryMeta& meta) {
  return {.kind = ChangeKind::kMeta, .path = path, .staged = {}, .meta = meta};
}

// Records for a stage, as one would send them.
class StageRecords {
 public:
  StageRecords& Dir(const std::string& path) { return Add(protocol::StageDir{.path = path}); }
  StageRecords& File(const std::string& path, const std::string& content,
                     const protocol::EntryMeta& meta = FileMeta()) {
    uint32_t tag = next_tag_++;
    records_.Add(
        protocol::StageFile{.tag = tag, .path = path, .size = content.size(), .meta = meta});
    if (!content.empty()) records_.AddBytes(tag, 0, content);
    return Add(protocol::StageEnd{.tag = tag});
  }
  StageRecords& Link(const std::string& path, const std::string& target) {
    return Add(protocol::StageSpecial{
        .path = path, .link_target = target, .hard_link_to = {}, .meta = {.mode = S_IFLNK | 0777}});
  }
  StageRecords& HardLink(const std::string& path, const std::string& to) {
    return Add(
        protocol::StageSpecial{.path = path, .link_target = {}, .hard_link_to = to, .meta = {}});
  }
  StageRecords& Meta(const std::string& path, const protocol::EntryMeta& meta) {
    return Add(protocol::StageMeta{.path = path, .meta = meta});
  }
  template <class R>
  StageRecords& Add(const R& record) {
    records_.Add(record);
    return *this;
  }
  StageRecords& AddBytes(uint32_t tag, uint64_t offset, std::string_view bytes) {
    records_.AddBytes(tag, offset, bytes);
    return *this;
  }
  protocol::RecordWriter& writer() { return records_; }

 private:
  protocol::RecordWriter records_;
  uint32_t next_tag_ = 1;
};

class RestoreTest : public AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    work_ = dir_ / "work";
    fs::create_directory(work_);
  }

  // A restore up to a point.
  class Running {
   public:
    Running(sys::Fd socket, const std::string& dir) : client_(std::move(socket)) {
      client_.Send(protocol::Restore{.dir = dir});
      auto staged = client_.Expect<protocol::Staged>();
      if (staged) {
        stage_ = staged->stage;
        free_bytes_ = staged->free_bytes;
      } else {
        error_ = staged.error();
      }
    }
    Result<void> Prepare(const std::vector<Change>& changes) {
      protocol::RecordWriter records;
      for (const Change& change : changes) {
        records.Add(change);
        if (records.size() < 200'000) continue;
        TRY(client_.SendData(FrameType::kTree, records.payload()));
        records.Clear();
      }
      TRY(client_.SendData(FrameType::kTree, records.payload()));
      client_.SendEmpty(FrameType::kTreeEnd);
      TRY(client_.Expect<protocol::Ok>());
      return {};
    }
    Result<protocol::End> Commit() {
      SendCommit();
      return AwaitEnd();
    }
    void SendCommit() { client_.SendEmpty(FrameType::kCommit); }
    // An agent whose process was killed may skip the first answer or give it twice.
    Result<protocol::End> AwaitEnd() {
      while (true) {
        ASSIGN(auto frame, client_.reader().Next());
        if (!frame) return Fail(Code::kUnavailable, "the connection ended");
        if (frame->type == FrameType::kOk) continue;
        return protocol::Expect<protocol::End>(*frame);
      }
    }
    // Returns when the agent is done with it.
    void Abandon() {
      shutdown(client_.fd(), SHUT_WR);
      Collect(&client_);
      client_.Close();
    }
    const std::string& stage() const { return stage_; }
    uint64_t free_bytes() const { return free_bytes_; }
    const std::optional<Error>& error() const { return error_; }
    Client& client() { return client_; }

   private:
    Client client_;
    std::string stage_;
    uint64_t free_bytes_ = 0;
    std::optional<Error> error_;
  };

  Result<protocol::End> Fill(const std::string& stage, StageRecords& records) {
    Client client(Connect());
    client.Send(protocol::StageWrite{.dir = work_, .stage = stage});
    (void)client.SendData(FrameType::kTree, records.writer().payload());
    client.SendEmpty(FrameType::kTreeEnd);
    return client.Expect<protocol::End>();
  }

  Result<protocol::End> RestoreAll(StageRecords& records, const std::vector<Change>& changes) {
    Running restore(Connect(), work_);
    if (restore.error()) return Unexpected(*restore.error());
    auto filled = Fill(restore.stage(), records);
    auto done = [&]() -> Result<protocol::End> {
      TRY(std::move(filled));
      TRY(restore.Prepare(changes));
      return restore.Commit();
    }();
    if (!done) restore.Abandon();
    return done;
  }

  // Everything about a tree that must survive, as text. Without times where `times` is false.
  static std::string Describe(const fs::path& root, bool times = true) {
    std::map<std::string, std::string> lines;
    auto add = [&](const fs::path& path, const std::string& name) {
      struct stat st{};
      if (lstat(path.c_str(), &st) != 0) return;
      std::string line = std::to_string(st.st_mode) + " " + std::to_string(st.st_uid) + " " +
                         std::to_string(st.st_nlink);
      if (times) {
        line += " " + std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec);
      }
      if (S_ISLNK(st.st_mode)) line += " -> " + fs::read_symlink(path).string();
      if (S_ISREG(st.st_mode)) line += " " + Slurp(path).substr(0, 200);
      lines[name] = line;
    };
    add(root, ".");
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      add(entry.path(), fs::relative(entry.path(), root).string());
    }
    std::string text;
    for (const auto& [name, line] : lines) text += name + ": " + line + "\n";
    return text;
  }
  std::string Describe() const { return Describe(work_); }

  static void Write(const fs::path& path, const std::string& content) {
    std::ofstream(path) << content;
  }
  static struct stat Stat(const fs::path& path) {
    struct stat st{};
    EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
    return st;
  }

  // The child of the agent that runs a transfer.
  pid_t TransferPid() const {
    std::string base = "/proc/" + std::to_string(agent_) + "/task";
    std::error_code gone;
    for (const auto& task : fs::directory_iterator(base, gone)) {
      std::istringstream children(Slurp(task.path() / "children"));
      for (pid_t child = 0; children >> child;) {
        std::string name = Slurp("/proc/" + std::to_string(child) + "/comm");
        if (name == "atoll-transfer\n") return child;
      }
    }
    return -1;
  }

  fs::path work_;
};

}  // namespace atl::agent
