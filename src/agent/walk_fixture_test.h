// SPDX-License-Identifier: Apache-2.0
// A directory tree beside a running agent, walked and read through it.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "agent/agent_fixture_test.h"
#include "protocol/tree.h"

namespace atl::agent {

struct Walked {
  std::vector<std::string> order;  // paths, ".." for LeaveDir
  std::map<std::string, protocol::TreeEntry> entries;
  std::map<std::string, int> skipped;
  std::optional<protocol::WalkEnd> end;
  std::optional<Error> error;
};

struct ReadFile {
  std::optional<protocol::FileBegin> begin;
  std::string bytes;                                // without holes
  std::vector<std::pair<uint64_t, uint64_t>> data;  // offset and length
  uint64_t at = 0;
  std::optional<protocol::FileEnd> end;
};

class WalkTest : public AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    root_ = dir_ / "tree";
    std::filesystem::create_directory(root_);
  }

  static void Write(const std::filesystem::path& path, std::string_view content = "") {
    std::ofstream(path, std::ios::binary) << content;
  }

  // Every record of a walk; pieces of it may come with the connection's end.
  Walked Walk(std::vector<std::string> exclude = {}) { return WalkDir(root_, std::move(exclude)); }
  Walked WalkDir(const std::filesystem::path& dir, std::vector<std::string> exclude = {}) {
    Client client(Connect());
    client.Send(protocol::Walk{.dir = dir, .exclude = std::move(exclude)});
    Walked walked;
    std::vector<std::string> parents;
    while (true) {
      auto frame = client.reader().Next();
      if (!frame || !*frame) return walked;
      if ((*frame)->type == FrameType::kError) walked.error = protocol::UnexpectedFrame(**frame);
      if ((*frame)->type == FrameType::kWalkEnd) {
        walked.end = protocol::Decode<protocol::WalkEnd>((*frame)->payload).value();
      }
      if ((*frame)->type == FrameType::kTree) Note((*frame)->payload, &parents, &walked);
    }
  }

  // One file after the other over one connection.
  std::vector<ReadFile> Read(const std::vector<std::string>& paths) {
    Client client(Connect());
    client.Send(protocol::ReadFiles{.dir = root_});
    protocol::RecordWriter writer;
    uint32_t tag = 0;
    for (const std::string& path : paths) writer.Add(protocol::WantFile{tag++, path});
    EXPECT_TRUE(client.SendData(FrameType::kTree, writer.payload()));
    client.SendEmpty(FrameType::kTreeEnd);
    std::vector<ReadFile> files;
    while (true) {
      auto frame = client.reader().Next();
      if (!frame || !*frame) {
        ADD_FAILURE() << "the connection ended early";
        return files;
      }
      if ((*frame)->type == FrameType::kEnd) return files;
      if ((*frame)->type == FrameType::kError) {
        ADD_FAILURE() << protocol::UnexpectedFrame(**frame).message;
      }
      NoteFiles((*frame)->payload, &files);
    }
  }
  ReadFile ReadOne(const std::string& path) {
    auto files = Read({path});
    return files.empty() ? ReadFile() : std::move(files[0]);
  }

  // The agent's children named atoll-transfer.
  std::set<pid_t> Transfers() const {
    std::set<pid_t> pids;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      pid_t pid = std::atoi(entry.path().filename().c_str());
      if (pid == 0) continue;
      std::string stat = Slurp(entry.path() / "stat");
      int parent = 0;
      if (stat.find("(atoll-transfer) ") != std::string::npos &&
          std::sscanf(stat.c_str() + stat.rfind(')'), ") %*c %d", &parent) == 1 &&
          parent == agent_) {
        pids.insert(pid);
      }
    }
    return pids;
  }

  // The one child there is waits, for its client to read or to say something.
  bool TransferSleeps() const {
    auto pids = Transfers();
    if (pids.size() != 1) return false;
    std::string stat = Slurp("/proc/" + std::to_string(*pids.begin()) + "/stat");
    return stat.find(") S ") != std::string::npos;
  }

  static void Note(std::string_view payload, std::vector<std::string>* parents, Walked* walked) {
    protocol::RecordReader reader(payload);
    auto path_of = [&](const std::string& name) {
      return parents->empty() || parents->back().empty() ? name : parents->back() + "/" + name;
    };
    while (true) {
      auto record = reader.Next();
      ASSERT_TRUE(record.has_value()) << record.error().message;
      if (!*record) return;
      if (auto* entry = std::get_if<protocol::TreeEntry>(&**record)) {
        std::string path = path_of(entry->name);
        walked->order.push_back(path);
        if (S_ISDIR(entry->meta.mode)) parents->push_back(path);
        walked->entries[path] = std::move(*entry);
      } else if (auto* skipped = std::get_if<protocol::SkippedEntry>(&**record)) {
        walked->skipped[path_of(skipped->name)] = skipped->sys_errno;
      } else {
        ASSERT_TRUE(std::holds_alternative<protocol::LeaveDir>(**record));
        ASSERT_FALSE(parents->empty());
        parents->pop_back();
        walked->order.emplace_back("..");
      }
    }
  }

  static void NoteFiles(std::string_view payload, std::vector<ReadFile>* files) {
    protocol::RecordReader reader(payload);
    while (true) {
      auto record = reader.Next();
      ASSERT_TRUE(record.has_value()) << record.error().message;
      if (!*record) return;
      if (files->empty() || files->back().end) files->emplace_back();
      ReadFile& file = files->back();
      if (auto* begin = std::get_if<protocol::FileBegin>(&**record)) {
        file.begin = std::move(*begin);
      } else if (auto* bytes = std::get_if<protocol::FileBytes>(&**record)) {
        ASSERT_EQ(bytes->offset, file.at);
        file.data.emplace_back(bytes->offset, bytes->bytes.size());
        file.bytes += bytes->bytes;
        file.at += bytes->bytes.size();
      } else if (auto* hole = std::get_if<protocol::FileHole>(&**record)) {
        file.at += hole->length;
      } else {
        file.end = std::get<protocol::FileEnd>(**record);
      }
    }
  }

  std::filesystem::path root_;
};

}  // namespace atl::agent
