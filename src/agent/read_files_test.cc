// SPDX-License-Identifier: Apache-2.0
#include <sys/ioctl.h>

#include <cerrno>
#include <random>

#include "agent/walk_fixture_test.h"

namespace atl::agent {
namespace {

class ReadFilesTest : public WalkTest {
 protected:
  static int BytesQueued(const Client& client) {
    int bytes = 0;
    ioctl(client.fd(), FIONREAD, &bytes);
    return bytes;
  }
};

std::string RandomBytes(size_t size) {
  std::mt19937 random(static_cast<unsigned>(size));
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST_F(ReadFilesTest, GivesFilesWithTheirContentInTheOrderOfTheRequests) {
  std::filesystem::create_directory(root_ / "d");
  std::vector<std::string> paths;
  std::vector<std::string> contents;
  for (size_t size : {0UL, 1UL, 40'000UL, 511UL << 10U, 3'000'000UL, 5UL, 0UL, 1UL << 20U}) {
    paths.push_back((paths.size() % 2 == 0 ? "" : "d/") + std::string("\xff-") +
                    std::to_string(paths.size()));
    contents.push_back(RandomBytes(size));
    Write(root_ / paths.back(), contents.back());
  }
  auto files = Read(paths);
  ASSERT_EQ(files.size(), paths.size());
  for (size_t i = 0; i < files.size(); ++i) {
    ASSERT_TRUE(files[i].begin && files[i].end) << i;
    EXPECT_EQ(files[i].begin->tag, i);
    EXPECT_EQ(files[i].begin->entry.size, contents[i].size());
    EXPECT_TRUE(S_ISREG(files[i].begin->entry.meta.mode));
    EXPECT_TRUE(files[i].bytes == contents[i]) << i;
    EXPECT_EQ(*files[i].end, (protocol::FileEnd{.tag = static_cast<uint32_t>(i)}));
  }
}

TEST_F(ReadFilesTest, ASparseFileCostsWhatIsInIt) {
  constexpr uint64_t kSize = 10ULL << 30U;
  {
    sys::Fd fd = sys::Open(root_ / "sparse", O_RDWR | O_CREAT, 0600).value();
    ASSERT_EQ(ftruncate(fd.get(), kSize), 0);
    ASSERT_EQ(pwrite(fd.get(), "middle", 6, 5LL << 30), 6);
  }
  auto begun = std::chrono::steady_clock::now();
  ReadFile file = ReadOne("sparse");
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5));
  EXPECT_EQ(file.begin->entry.size, kSize);
  EXPECT_EQ(file.at, kSize);
  EXPECT_LT(file.bytes.size(), 1U << 20U);
  EXPECT_NE(file.bytes.find("middle"), std::string::npos);
  EXPECT_FALSE(file.end->changed);
  // Nothing but a hole.
  std::ofstream(root_ / "empty").close();
  std::filesystem::resize_file(root_ / "empty", 1 << 20);
  ReadFile empty = ReadOne("empty");
  EXPECT_EQ(empty.at, 1U << 20U);
  EXPECT_TRUE(empty.bytes.empty());
}

TEST_F(ReadFilesTest, WhatIsNoRegularFileOfTheDirectoryIsRefused) {
  Write(dir_ / "secret", "secret");
  std::filesystem::create_directory(root_ / "dir");
  ASSERT_EQ(mkfifo((root_ / "fifo").c_str(), 0600), 0);
  ASSERT_EQ(symlink("../secret", (root_ / "link").c_str()), 0);
  ASSERT_EQ(symlink("..", (root_ / "up").c_str()), 0);
  ASSERT_EQ(symlink("/etc", (root_ / "etc").c_str()), 0);
  auto files = Read({"missing", "dir", "fifo", "link", "up/secret", "etc/passwd", "dir/missing"});
  ASSERT_EQ(files.size(), 7U);
  std::vector<int> errors{ENOENT, EINVAL, EINVAL, ELOOP, ELOOP, ELOOP, ENOENT};
  for (size_t i = 0; i < files.size(); ++i) {
    EXPECT_FALSE(files[i].begin.has_value()) << i;
    EXPECT_EQ(files[i].end->sys_errno, errors[i]) << i;
  }
}

TEST_F(ReadFilesTest, ALinkThatTakesADirectorysPlaceLeadsNowhere) {
  std::filesystem::create_directory(root_ / "d");
  std::filesystem::create_directory(dir_ / "outside");
  Write(root_ / "d/f", "inside");
  Write(dir_ / "outside/f", "outside");
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    std::filesystem::create_symlink(dir_ / "outside", root_ / "evil");
    while (!stop) {
      renameat2(AT_FDCWD, (root_ / "d").c_str(), AT_FDCWD, (root_ / "evil").c_str(),
                RENAME_EXCHANGE);
    }
  });
  size_t good = 0;
  for (int round = 0; round < 50; ++round) {
    for (const ReadFile& file : Read(std::vector<std::string>(100, "d/f"))) {
      EXPECT_NE(file.bytes, "outside");
      good += file.bytes == "inside" ? 1 : 0;
    }
  }
  stop = true;
  swapper.join();
  EXPECT_GT(good, 0U);
}

TEST_F(ReadFilesTest, AFileThatChangesWhileItIsReadIsSaidToHave) {
  constexpr size_t kSize = 8U << 20U;
  std::string content = RandomBytes(kSize);
  // The file is read up to what the socket holds when `change` happens.
  auto read_while = [&](const std::function<void(const std::filesystem::path&)>& change) {
    Write(root_ / "f", content);
    Client client(Connect());
    client.Send(protocol::ReadFiles{.dir = root_});
    protocol::RecordWriter writer;
    writer.Add(protocol::WantFile{.tag = 0, .path = "f"});
    EXPECT_TRUE(client.SendData(FrameType::kTree, writer.payload()));
    EXPECT_TRUE(Eventually([&] { return BytesQueued(client) > 100'000 && TransferSleeps(); }));
    change(root_ / "f");
    std::vector<ReadFile> files;
    while (files.empty() || !files[0].end) {
      auto frame = client.reader().Next();
      if (!frame || !*frame) break;
      NoteFiles((*frame)->payload, &files);
    }
    EXPECT_EQ(files.size(), 1U);
    return files.empty() ? ReadFile() : std::move(files[0]);
  };

  ReadFile shrunk = read_while([](const auto& path) { std::filesystem::resize_file(path, 5); });
  EXPECT_TRUE(shrunk.end->changed);
  EXPECT_LT(shrunk.at, kSize);
  ReadFile grown =
      read_while([](const auto& path) { std::ofstream(path, std::ios::app) << "more"; });
  EXPECT_TRUE(grown.end->changed);
  EXPECT_TRUE(grown.bytes == content);
  // Another file of the name is none of this one's affair, but its name's time changes.
  ReadFile gone = read_while([](const auto& path) { std::filesystem::remove(path); });
  EXPECT_TRUE(gone.bytes == content);
  ReadFile still = read_while([](const auto&) {});
  EXPECT_FALSE(still.end->changed);
  EXPECT_TRUE(still.bytes == content);
}

// Writes all requests before it reads anything: neither side may wait for the other for ever.
TEST_F(ReadFilesTest, ManyRequestsBeforeTheFirstAnswer) {
  std::string content = RandomBytes(4000);
  std::string name(200, 'n');
  Write(root_ / name, content);
  Client client(Connect());
  client.Send(protocol::ReadFiles{.dir = root_});
  constexpr uint32_t kCount = 20'000;
  protocol::RecordWriter writer;
  for (uint32_t tag = 0; tag < kCount; ++tag) {
    writer.Add(protocol::WantFile{.tag = tag, .path = name});
    if (writer.size() < 100'000 && tag + 1 < kCount) continue;
    ASSERT_TRUE(client.SendData(FrameType::kTree, writer.payload()));
    writer.Clear();
  }
  client.SendEmpty(FrameType::kTreeEnd);
  std::vector<ReadFile> files;
  std::optional<protocol::End> end;
  while (!end) {
    auto frame = client.reader().Next();
    ASSERT_TRUE(frame.has_value() && frame->has_value());
    if ((*frame)->type == FrameType::kEnd) {
      end = protocol::Decode<protocol::End>((*frame)->payload).value();
    } else {
      NoteFiles((*frame)->payload, &files);
    }
  }
  EXPECT_EQ(files.size(), kCount);
  EXPECT_EQ(end->files, kCount);
  EXPECT_EQ(end->bytes, uint64_t{kCount} * content.size());
  EXPECT_EQ(end->skipped, 0U);
}

TEST_F(ReadFilesTest, AClientThatAsksForEverAndReadsNothingIsTurnedAway) {
  Write(root_ / "f", RandomBytes(100'000));
  Client client(Connect());
  client.Send(protocol::ReadFiles{.dir = root_});
  protocol::RecordWriter writer;
  for (uint32_t tag = 0; tag < 1000; ++tag) {
    writer.Add(protocol::WantFile{.tag = tag, .path = "f"});
  }
  bool refused = false;
  for (int i = 0; i < 1000 && !refused; ++i) {
    refused = !client.SendData(FrameType::kTree, writer.payload());
  }
  EXPECT_TRUE(refused);
  EXPECT_TRUE(Eventually([&] { return Transfers().empty(); }));
}

TEST_F(ReadFilesTest, RequestsThatAreNoneAreErrors) {
  auto outcome_of = [&](FrameType type, std::string_view payload) {
    Client client(Connect());
    client.Send(protocol::ReadFiles{.dir = root_});
    EXPECT_TRUE(client.SendData(type, payload));
    return Collect(&client);
  };
  auto ends_with = [](const Outcome& outcome, Code code) {
    return outcome.error && outcome.error->code == code;
  };
  protocol::RecordWriter writer;
  writer.Add(protocol::WantFile{.tag = 1, .path = "../secret"});
  EXPECT_TRUE(ends_with(outcome_of(FrameType::kTree, writer.payload()), Code::kInvalidArgument));
  writer.Clear();
  writer.Add(protocol::LeaveDir{});
  EXPECT_TRUE(ends_with(outcome_of(FrameType::kTree, writer.payload()), Code::kInvalidArgument));
  EXPECT_TRUE(ends_with(outcome_of(FrameType::kStdin, "x"), Code::kInvalidArgument));
  Client missing(Connect());
  missing.Send(protocol::ReadFiles{.dir = root_ / "missing"});
  EXPECT_EQ(Collect(&missing).error->code, Code::kNotFound);
}

TEST_F(ReadFilesTest, AnswersDoNotWaitForMoreRequests) {
  Write(root_ / "f", "content");
  Client client(Connect());
  client.Send(protocol::ReadFiles{.dir = root_});
  for (uint32_t tag = 0; tag < 3; ++tag) {
    protocol::RecordWriter writer;
    writer.Add(protocol::WantFile{.tag = tag, .path = "f"});
    ASSERT_TRUE(client.SendData(FrameType::kTree, writer.payload()));
    std::vector<ReadFile> files;
    auto frame = client.reader().Next();
    ASSERT_TRUE(frame.has_value() && frame->has_value());
    NoteFiles((*frame)->payload, &files);
    ASSERT_EQ(files.size(), 1U);
    EXPECT_EQ(files[0].bytes, "content");
    EXPECT_EQ(files[0].end->tag, tag);
  }
}

}  // namespace
}  // namespace atl::agent
