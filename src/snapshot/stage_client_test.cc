// SPDX-License-Identifier: Apache-2.0
// Restores through the client, with a real agent and with ones that do not behave.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <thread>

#include "agent/agent_fixture_test.h"
#include "snapshot/agent_tree.h"

namespace atl::snapshot {
namespace {

namespace fs = std::filesystem;
using protocol::Change;
using protocol::ChangeKind;

protocol::EntryMeta FileMeta() { return {.mode = S_IFREG | 0644, .mtime = {.seconds = 1'000'000}}; }
Change PutAt(const std::string& path, const std::string& staged) {
  return {.kind = ChangeKind::kPut, .path = path, .staged = staged, .meta = {}};
}

class StageClientTest : public agent::AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    work_ = dir_ / "work";
    fs::create_directory(work_);
  }
  AgentTree Tree() {
    return AgentTree([this]() -> Result<sys::Fd> { return Connect(); });
  }
  static Result<void> WriteFile(StageWriter& writer, uint32_t tag, const std::string& path,
                                const std::string& content) {
    TRY(writer.File({.tag = tag, .path = path, .size = content.size(), .meta = FileMeta()}));
    TRY(writer.Bytes(tag, 0, content));
    return writer.End(tag);
  }
  fs::path work_;
};

TEST_F(StageClientTest, SeveralWritersFillOneStage) {
  AgentTree tree = Tree();
  auto stage = tree.BeginRestore(work_);
  ASSERT_TRUE(stage.has_value()) << stage.error().message;
  EXPECT_GT((*stage)->free_bytes(), 0U);
  // Longer than a frame may be.
  std::string large(3'000'001, 'L');
  std::vector<std::thread> threads;
  for (int part = 0; part < 2; ++part) {
    threads.emplace_back([&, part] {
      auto writer = (*stage)->OpenWriter();
      ASSERT_TRUE(writer.has_value()) << writer.error().message;
      std::string dir = "d" + std::to_string(part);
      ASSERT_TRUE((*writer)->Dir({.path = dir}).has_value());
      for (uint32_t i = 0; i < 300; ++i) {
        ASSERT_TRUE(WriteFile(**writer, i, dir + "/" + std::to_string(i), "content").has_value());
      }
      ASSERT_TRUE(WriteFile(**writer, 1, dir + "/large", large).has_value());
      auto end = (*writer)->Finish();
      ASSERT_TRUE(end.has_value()) << end.error().message;
      EXPECT_EQ(end->files, 302U);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<Change> changes{PutAt("a", "d0"), PutAt("b", "d1")};
  ASSERT_TRUE((*stage)->Prepare(changes).has_value());
  EXPECT_FALSE(fs::exists(work_ / "a"));
  ASSERT_TRUE((*stage)->Commit().has_value());
  EXPECT_EQ(agent::Slurp(work_ / "a" / "large"), large);
  EXPECT_EQ(agent::Slurp(work_ / "b" / "299"), "content");
  ASSERT_TRUE((*stage)->Finish().has_value());
  EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 2);
}

TEST_F(StageClientTest, AnAbandonedRestoreLeavesNothingAndTheNextMayBegin) {
  std::ofstream(work_ / "old") << "old";
  AgentTree tree = Tree();
  for (int i = 0; i < 10; ++i) {
    auto stage = tree.BeginRestore(work_);
    ASSERT_TRUE(stage.has_value()) << stage.error().message;
    auto writer = (*stage)->OpenWriter();
    ASSERT_TRUE(writer.has_value());
    ASSERT_TRUE(WriteFile(**writer, 1, "file", "new").has_value());
    ASSERT_TRUE((*writer)->Finish().has_value());
    std::vector<Change> changes{PutAt("old", "file")};
    if (i % 2 == 0) ASSERT_TRUE((*stage)->Prepare(changes).has_value());
    writer->reset();
    stage->reset();
    EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 1);
    EXPECT_EQ(agent::Slurp(work_ / "old"), "old");
  }
}

TEST_F(StageClientTest, TheAgentsErrorComesWhileRecordsAreSent) {
  AgentTree tree = Tree();
  auto stage = tree.BeginRestore(work_);
  ASSERT_TRUE(stage.has_value());
  auto writer = (*stage)->OpenWriter();
  ASSERT_TRUE(writer.has_value());
  Result<void> sent = (*writer)->Dir({.path = "missing/parent"});
  std::string piece(100'000, 'x');
  int count = 0;
  for (; sent && count < 10'000; ++count) {
    sent = WriteFile(**writer, 1, "f" + std::to_string(count), piece);
  }
  ASSERT_FALSE(sent.has_value());
  EXPECT_LT(count, 1000) << "noticed long before the end";
  EXPECT_EQ(sent.error().code, Code::kNotFound) << sent.error().message;
  EXPECT_NE(sent.error().message.find("missing/parent"), std::string::npos);
  auto end = (*writer)->Finish();
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().code, Code::kNotFound);
  std::vector<Change> changes{PutAt("a", "nothing there")};
  auto ready = (*stage)->Prepare(changes);
  ASSERT_FALSE(ready.has_value());
  EXPECT_EQ(ready.error().code, Code::kInvalidArgument);
}

// Agents that say something else, or nothing.
class FakeAgent {
 public:
  explicit FakeAgent(std::string answer) : answer_(std::move(answer)) {}
  AgentTree::Connect Connect() {
    return [this]() -> Result<sys::Fd> {
      ASSIGN(auto pair, sys::MakeSocketPair(SOCK_STREAM));
      TRY(protocol::Send(pair.second.get(), protocol::Hello{}));
      TRY(protocol::SendBytes(pair.second.get(), answer_));
      ends_.push_back(std::move(pair.second));
      return std::move(pair.first);
    };
  }
  void Close() { ends_.clear(); }

 private:
  std::string answer_;
  std::vector<sys::Fd> ends_;
};

TEST(StageClient, ASilentAgentIsWaitedForOnlySoLong) {
  FakeAgent silent("");
  AgentTree tree(silent.Connect(), std::chrono::milliseconds(50));
  auto stage = tree.BeginRestore("/work");
  ASSERT_FALSE(stage.has_value());
  EXPECT_EQ(stage.error().code, Code::kTimeout);
}

TEST(StageClient, AStopEndsTheWait) {
  FakeAgent silent("");
  AgentTree tree(silent.Connect());
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop.request_stop();
  });
  auto stage = tree.BeginRestore("/work", stop.get_token());
  ASSERT_FALSE(stage.has_value());
  EXPECT_EQ(stage.error().code, Code::kCancelled);
}

TEST(StageClient, AStageThatIsAPathIsRefused) {
  for (const char* name : {"", "../../../etc/cron.d", "0123456789ABCDEF", "0123456789abcdef0"}) {
    FakeAgent hostile(*protocol::Encode(protocol::Staged{.stage = name, .free_bytes = 1}));
    AgentTree tree(hostile.Connect());
    auto stage = tree.BeginRestore("/work");
    ASSERT_FALSE(stage.has_value());
    EXPECT_EQ(stage.error().code, Code::kBadGateway);
  }
}

// The process that finishes a killed one's commit may have to answer again, or not at all.
TEST(StageClient, AnAnswerToACommitMayComeTwiceOrNot) {
  for (int oks = 0; oks <= 2; ++oks) {
    std::string answers =
        *protocol::Encode(protocol::Staged{.stage = "0123456789abcdef", .free_bytes = 1});
    for (int i = 0; i < oks; ++i) answers += *protocol::Encode(protocol::Ok{});
    answers += *protocol::Encode(protocol::End{.files = 7});
    FakeAgent agent(answers);
    AgentTree tree(agent.Connect());
    auto stage = tree.BeginRestore("/work");
    ASSERT_TRUE(stage.has_value()) << stage.error().message;
    EXPECT_TRUE((*stage)->Commit().has_value()) << oks;
    auto end = (*stage)->Finish();
    ASSERT_TRUE(end.has_value()) << end.error().message;
    EXPECT_EQ(end->files, 7U);
  }
}

}  // namespace
}  // namespace atl::snapshot
