// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "agent/agent_fixture_test.h"

namespace atl::agent {
namespace {

namespace fs = std::filesystem;

// A ustar entry made by hand: what a hostile daemon or store could hand in.
std::string TarEntry(const std::string& name, char type, const std::string& content = {},
                     const std::string& link = {}) {
  std::array<char, 512> block{};
  name.copy(block.data(), 100);
  std::snprintf(block.data() + 100, 8, "%07o", type == '5' ? 0755 : 0644);
  std::snprintf(block.data() + 108, 8, "%07o", geteuid());
  std::snprintf(block.data() + 116, 8, "%07o", getegid());
  std::snprintf(block.data() + 124, 12, "%011zo", content.size());
  std::snprintf(block.data() + 136, 12, "%011o", 1'700'000'000);
  block[156] = type;
  link.copy(block.data() + 157, 100);
  std::memcpy(block.data() + 257, "ustar\00000", 8);
  std::memset(block.data() + 148, ' ', 8);
  unsigned sum = 0;
  for (char byte : block) sum += static_cast<unsigned char>(byte);
  std::snprintf(block.data() + 148, 8, "%06o", sum);
  std::string entry(block.data(), block.size());
  entry += content;
  entry.resize((entry.size() + 511) / 512 * 512, '\0');
  return entry;
}

std::string Archive(const std::string& entries) {
  return TarEntry("./", '5') + entries + std::string(1024, '\0');
}

class TarTest : public AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    work_ = dir_ / "work";
    outside_ = dir_ / "outside";
    fs::create_directory(work_);
    fs::create_directory(outside_);
  }

  Outcome Out(const std::string& dir) {
    Client client(Connect());
    client.Send(protocol::TarOut{.dir = dir});
    return Collect(&client);
  }
  Outcome In(const std::string& dir, const std::string& tar, bool finish = true) {
    Client client(Connect());
    client.Send(protocol::TarIn{.dir = dir});
    for (size_t at = 0; at < tar.size(); at += 300'000) {
      auto sent = client.SendData(FrameType::kTar, std::string_view(tar).substr(at, 300'000));
      if (!sent) break;
    }
    if (!finish) {
      client.Close();
      return {};
    }
    client.SendEmpty(FrameType::kTarEnd);
    return Collect(&client);
  }

  // Everything about a tree that must survive, as text.
  std::string Describe(const fs::path& root) {
    std::map<std::string, std::string> lines;
    std::map<ino_t, std::string> first;
    auto add = [&](const fs::path& path, const std::string& name) {
      struct stat st{};
      lstat(path.c_str(), &st);
      std::string line = std::to_string(st.st_mode) + " " + std::to_string(st.st_uid) + " " +
                         std::to_string(st.st_gid) + " " + std::to_string(st.st_mtim.tv_sec) + "." +
                         std::to_string(st.st_mtim.tv_nsec);
      if (S_ISLNK(st.st_mode)) line += " -> " + fs::read_symlink(path).string();
      if (S_ISREG(st.st_mode)) {
        line += " " + std::to_string(std::hash<std::string>()(Slurp(path)));
      }
      lines[name] = line;
    };
    add(root, ".");
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      add(entry.path(), fs::relative(entry.path(), root).string());
    }
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      struct stat st{};
      lstat(entry.path().c_str(), &st);
      std::string name = fs::relative(entry.path(), root).string();
      if (S_ISDIR(st.st_mode) || st.st_nlink < 2) continue;
      std::string& holder = first[st.st_ino];
      if (holder.empty() || name < holder) holder = name;
    }
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      struct stat st{};
      lstat(entry.path().c_str(), &st);
      if (S_ISDIR(st.st_mode) || st.st_nlink < 2) continue;
      lines[fs::relative(entry.path(), root).string()] += " = " + first[st.st_ino];
    }
    std::string text;
    for (const auto& [name, line] : lines) text += name + ": " + line + "\n";
    return text;
  }

  static void Write(const fs::path& path, const std::string& content) {
    std::ofstream(path) << content;
  }

  void MakeTree() {
    fs::create_directories(work_ / "a" / "b" / "c");
    fs::create_directory(work_ / "empty");
    Write(work_ / "hello", "hello\n");
    Write(work_ / "a" / "b" / "large", std::string(3'000'001, 'L'));
    Write(work_ / "a" / "nothing", "");
    Write(work_ / "caf\xc3\xa9 \xff name", "bytes");
    std::string deep(120, 'n');
    fs::create_directories(work_ / deep / deep / deep);
    Write(work_ / deep / deep / deep / "leaf", "leaf");
    fs::create_hard_link(work_ / "hello", work_ / "a" / "same");
    fs::create_symlink("../../etc/passwd", work_ / "a" / "link");
    fs::create_symlink("/nowhere", work_ / "dangling");
    mkfifo((work_ / "fifo").c_str(), 0600);
    chmod((work_ / "hello").c_str(), 04751);
    chmod((work_ / "a" / "b").c_str(), 01700);
    chmod((work_ / "empty").c_str(), 0555);
    if (geteuid() == 0) {
      ASSERT_EQ(chown((work_ / "a" / "nothing").c_str(), 1234, 4321), 0);
      ASSERT_EQ(lchown((work_ / "dangling").c_str(), 7, 8), 0);
    }
    timespec times[2] = {{1'600'000'000, 1}, {1'600'000'000, 123'456'789}};
    utimensat(AT_FDCWD, (work_ / "a").c_str(), times, 0);
    utimensat(AT_FDCWD, (work_ / "dangling").c_str(), times, AT_SYMLINK_NOFOLLOW);
    utimensat(AT_FDCWD, work_.c_str(), times, 0);
  }

  fs::path work_;
  fs::path outside_;
};

TEST_F(TarTest, ADirectoryComesBackExactly) {
  MakeTree();
  std::string before = Describe(work_);
  Outcome out = Out(work_);
  ASSERT_TRUE(out.end.has_value()) << (out.error ? out.error->message : "");
  EXPECT_EQ(out.end->skipped, 0U);
  EXPECT_EQ(out.end->files, 16U);
  struct stat inode{};
  stat(work_.c_str(), &inode);
  // Changed, added, removed, replaced by another kind.
  fs::remove(work_ / "hello");
  Write(work_ / "a" / "same", "changed");
  fs::create_directories(work_ / "new" / "dir");
  fs::remove(work_ / "dangling");
  fs::create_directory(work_ / "dangling");
  chmod(work_.c_str(), 0700);
  Outcome in = In(work_, out.tar);
  ASSERT_TRUE(in.end.has_value()) << (in.error ? in.error->message : "");
  EXPECT_EQ(in.end->files, 16U);
  EXPECT_EQ(Describe(work_), before);
  struct stat again{};
  stat(work_.c_str(), &again);
  EXPECT_EQ(again.st_ino, inode.st_ino);
  // And once more the same archive.
  EXPECT_EQ(Out(work_).tar, out.tar);
}

TEST_F(TarTest, AnEmptyDirectoryEmptiesTheTarget) {
  Outcome out = Out(work_);
  ASSERT_TRUE(out.end.has_value());
  MakeTree();
  ASSERT_TRUE(In(work_, out.tar).end.has_value());
  EXPECT_TRUE(fs::is_empty(work_));
}

TEST_F(TarTest, SparseFilesStaySparse) {
  Write(work_ / "sparse", "begin");
  fs::resize_file(work_ / "sparse", 1U << 30U);
  {
    std::fstream file(work_ / "sparse", std::ios::in | std::ios::out);
    file.seekp(100'000'000);
    file << "middle";
  }
  Outcome out = Out(work_);
  ASSERT_TRUE(out.end.has_value());
  EXPECT_LT(out.tar.size(), 100'000U);
  fs::remove(work_ / "sparse");
  ASSERT_TRUE(In(work_, out.tar).end.has_value());
  struct stat st{};
  ASSERT_EQ(stat((work_ / "sparse").c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 1 << 30);
  EXPECT_LT(st.st_blocks, 1000);
  std::ifstream file(work_ / "sparse");
  file.seekg(100'000'000);
  std::string middle(6, ' ');
  file.read(middle.data(), 6);
  EXPECT_EQ(middle, "middle");
}

TEST_F(TarTest, SocketsAndLeftoversOfRestoresAreNotArchived) {
  fs::create_directory(work_ / ".atoll-restore-0123456789abcdef");
  Write(work_ / ".atoll-restore-0123456789abcdef" / "half", "x");
  sys::Fd unix_socket(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX};
  (work_ / "socket").string().copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(unix_socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  Outcome out = Out(work_);
  ASSERT_TRUE(out.end.has_value());
  EXPECT_EQ(out.end->files, 0U);
  EXPECT_EQ(out.end->skipped, 1U);
  // The next restore removes it.
  ASSERT_TRUE(In(work_, out.tar).end.has_value());
  EXPECT_TRUE(fs::is_empty(work_));
}

TEST_F(TarTest, AFileThatChangesWhileItIsReadDoesNotBreakTheArchive) {
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    while (!stop) {
      for (int i = 0; i < 20; ++i) {
        Write(work_ / std::to_string(i), std::string(static_cast<size_t>(i) * 50'000, 'w'));
      }
      for (int i = 0; i < 20; ++i) fs::remove(work_ / std::to_string(i));
    }
  });
  for (int i = 0; i < 20; ++i) {
    Outcome out = Out(work_);
    ASSERT_TRUE(out.end.has_value()) << (out.error ? out.error->message : "");
    EXPECT_TRUE(In(outside_, out.tar).end.has_value());
  }
  stop = true;
  writer.join();
}

TEST_F(TarTest, WhatIsNoDirectoryOfTheUserIsRefused) {
  Write(work_ / "file", "x");
  fs::create_symlink(outside_, work_ / "link");
  fs::create_directory(outside_ / "sub");
  struct Case {
    std::string dir;
    Code code;
    std::string reason;
  };
  for (const Case& test :
       {Case{work_ / "file", Code::kInvalidArgument, "NOT_DIRECTORY"},
        Case{work_ / "link", Code::kInvalidArgument, ""},
        Case{work_ / "link" / "sub", Code::kInvalidArgument, ""},
        Case{work_ / ".." / "outside", Code::kInvalidArgument, ""},
        Case{"relative", Code::kInvalidArgument, ""}, Case{"", Code::kInvalidArgument, ""},
        Case{"/", Code::kInvalidArgument, ""}, Case{"//./", Code::kInvalidArgument, ""},
        Case{"/proc", Code::kInvalidArgument, ""}, Case{"/proc/self", Code::kInvalidArgument, ""},
        Case{"//sys/kernel", Code::kInvalidArgument, ""}, Case{"/dev", Code::kInvalidArgument, ""},
        Case{"/.atoll", Code::kInvalidArgument, ""},
        Case{std::string("/tmp\0x", 6), Code::kInvalidArgument, ""},
        Case{std::string(5000, '/') + "tmp", Code::kInvalidArgument, ""}}) {
    for (const Outcome& outcome : {Out(test.dir), In(test.dir, Archive(""))}) {
      ASSERT_TRUE(outcome.error.has_value()) << test.dir;
      EXPECT_EQ(outcome.error->code, test.code) << test.dir << ": " << outcome.error->message;
      EXPECT_EQ(outcome.error->reason, test.reason) << test.dir;
    }
  }
  EXPECT_TRUE(fs::exists(outside_ / "sub"));
}

TEST_F(TarTest, AMissingDirectoryIsMadeByARestoreThatSucceeds) {
  std::string missing = work_ / "none" / "deeper";
  Outcome archived = Out(missing);
  ASSERT_TRUE(archived.error.has_value());
  EXPECT_EQ(archived.error->reason, "FILE_NOT_FOUND");
  ASSERT_TRUE(In(missing, Archive(TarEntry("../x", '0', "evil"))).error.has_value());
  EXPECT_FALSE(fs::exists(work_ / "none"));
  ASSERT_FALSE(In(missing, Archive(TarEntry("a", '0', "back"))).error.has_value());
  EXPECT_TRUE(fs::exists(work_ / "none" / "deeper" / "a"));
}

TEST_F(TarTest, AHostileArchiveTouchesNothing) {
  Write(outside_ / "victim", "untouched");
  Write(work_ / "old", "kept");
  std::string out = outside_.string();
  std::string up = "../outside/victim";
  std::string staging_up = "../../outside/victim";
  for (const std::string& entries : {
           TarEntry(up, '0', "evil"),
           TarEntry("a/../../../outside/victim", '0', "evil"),
           TarEntry(out + "/victim", '0', "evil"),
           TarEntry("./" + staging_up, '0', "evil"),
           TarEntry("link", '2', "", out) + TarEntry("link/victim", '0', "evil"),
           TarEntry("link", '2', "", "../../outside") + TarEntry("link/victim", '0', "evil"),
           TarEntry("hard", '1', "", out + "/victim"),
           TarEntry("hard", '1', "", staging_up) + TarEntry("hard", '0', "evil"),
           TarEntry("link", '2', "", out + "/victim") + TarEntry("hard", '1', "", "link/x"),
           TarEntry("", '0', "evil"),
           std::string(2048, 'g'),
       }) {
    Outcome outcome = In(work_, Archive(entries));
    EXPECT_TRUE(outcome.error.has_value());
    EXPECT_EQ(Slurp(outside_ / "victim"), "untouched");
    EXPECT_EQ(Slurp(work_ / "old"), "kept");
    EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 1);
    EXPECT_EQ(std::distance(fs::directory_iterator(outside_), {}), 1);
  }
  // A symlink and then a file of the same name: the file takes its place.
  Outcome replaced =
      In(work_, Archive(TarEntry("x", '2', "", out + "/victim") + TarEntry("x", '0', "mine")));
  EXPECT_EQ(Slurp(outside_ / "victim"), "untouched");
  if (replaced.end) EXPECT_FALSE(fs::is_symlink(work_ / "x"));
}

TEST_F(TarTest, AnArchiveThatIsNotWholeChangesNothing) {
  Write(work_ / "old", "kept");
  std::string tar = Archive(TarEntry("new", '0', std::string(500'000, 'n')));
  // Cut off inside, and cut off just before the end marker.
  for (size_t size : {size_t{100}, size_t{100'000}, tar.size()}) {
    In(work_, tar.substr(0, size), false);
    EXPECT_TRUE(Eventually([&] {
      return std::distance(fs::directory_iterator(work_), {}) == 1 && fs::exists(work_ / "old");
    }));
  }
  // Complete as a stream, but not as an archive; and one without anything.
  for (const std::string& broken : {tar.substr(0, 100'000), std::string(), std::string(1024, '\0'),
                                    TarEntry("new", '0', "n") + std::string(1024, '\0')}) {
    Outcome outcome = In(work_, broken);
    ASSERT_TRUE(outcome.error.has_value());
    EXPECT_EQ(outcome.error->code, Code::kInvalidArgument) << outcome.error->message;
    EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 1);
    EXPECT_EQ(Slurp(work_ / "old"), "kept");
  }
}

TEST_F(TarTest, ARestoreFromOutsideIntoAUsedDirectoryReplacesSymlinksNotTheirTargets) {
  Write(outside_ / "victim", "untouched");
  fs::create_directory_symlink(outside_, work_ / "link");
  ASSERT_TRUE(In(work_, Archive(TarEntry("file", '0', "f"))).end.has_value());
  EXPECT_FALSE(fs::is_symlink(fs::symlink_status(work_ / "link")));
  EXPECT_EQ(Slurp(outside_ / "victim"), "untouched");
  EXPECT_EQ(Slurp(work_ / "file"), "f");
}

TEST_F(TarTest, ASlowReaderOfAnArchiveCostsNoMemory) {
  Write(work_ / "large", std::string(50'000'000, 'L'));
  Client client(Connect());
  client.Send(protocol::TarOut{.dir = work_});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(AgentRssKb(agent_), 6000);
  EXPECT_GT(Collect(&client).tar.size(), 50'000'000U);
}

// What a restore that was killed leaves: the new content, and what it had moved away.
TEST_F(TarTest, AKilledRestoreLeavesAllOldOrAllNew) {
  const std::string id = "0123456789abcdef";
  struct Case {
    std::vector<std::string> here;   // in the directory itself
    std::vector<std::string> old;    // moved away
    std::vector<std::string> fresh;  // not yet moved in
    std::string fresh_prefix;
    std::vector<std::string> after;
  };
  for (const Case& test : {
           Case{{"a", "b"}, {}, {"n"}, ".atoll-restore-", {"a", "b"}},
           Case{{"b"}, {"a"}, {"n"}, ".atoll-restore-", {"a", "b"}},
           // Created by a program after the old one was away.
           Case{{"a", "b"}, {"a"}, {"n"}, ".atoll-restore-", {"a", "b"}},
           Case{{}, {"a", "b"}, {"n", "m"}, ".atoll-restore-", {"a", "b"}},
           Case{{"b"}, {"a"}, {}, ".atoll-restore-", {"a", "b"}},
           Case{{}, {"a", "b"}, {"n", "m"}, ".atoll-ready-", {"m", "n"}},
           Case{{"n"}, {"a", "b"}, {"m"}, ".atoll-ready-", {"m", "n"}},
           Case{{"m", "n"}, {"a", "b"}, {"m"}, ".atoll-ready-", {"m", "n"}},
           Case{{"n", "m"}, {"a"}, {}, ".atoll-ready-", {"m", "n"}},
           Case{{"n", "m"}, {"a"}, {}, "", {"m", "n"}},
       }) {
    fs::remove_all(work_);
    auto make = [](const fs::path& dir, const std::vector<std::string>& names) {
      fs::create_directories(dir);
      for (const std::string& name : names) {
        fs::create_directory(dir / name);
        Write(dir / name / "file", name);
      }
    };
    make(work_, test.here);
    make(work_ / (".atoll-old-" + id), test.old);
    if (!test.fresh_prefix.empty()) make(work_ / (test.fresh_prefix + id), test.fresh);
    // Archiving looks at it as it should be, and so does a restore that fails.
    Outcome out = Out(work_);
    ASSERT_TRUE(out.end.has_value()) << (out.error ? out.error->message : "");
    EXPECT_EQ(out.end->files, 2 * test.after.size());
    EXPECT_TRUE(In(work_, "no archive").error.has_value());
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(work_)) {
      names.push_back(entry.path().filename());
      EXPECT_EQ(Slurp(entry.path() / "file"), names.back());
    }
    std::sort(names.begin(), names.end());
    EXPECT_EQ(names, test.after);
    ASSERT_TRUE(In(work_, out.tar).end.has_value());
    EXPECT_EQ(Out(work_).end->files, 2 * test.after.size());
  }
}

// Creates files below a directory that it holds open, as a program does that works in it.
class BusyWriter {
 public:
  explicit BusyWriter(const fs::path& dir) : dir_(*sys::Open(dir, O_RDONLY | O_DIRECTORY)) {
    thread_ = std::thread([this] {
      for (int i = 0; !stop_; ++i) {
        sys::Fd file(
            openat(dir_.get(), std::to_string(i).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
        if (i % 50 == 0) usleep(1000);
      }
    });
  }
  ~BusyWriter() {
    stop_ = true;
    thread_.join();
  }

 private:
  sys::Fd dir_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

TEST_F(TarTest, ARestoreSucceedsWhileAProgramWritesIntoTheOldContent) {
  fs::create_directory(work_ / "sub");
  Write(work_ / "sub" / "kept", "kept");
  Write(work_ / "top", "top");
  Outcome out = Out(work_);
  ASSERT_TRUE(out.end.has_value());
  for (int i = 0; i < 5; ++i) {
    Write(work_ / "changed", "later");
    BusyWriter writer(work_ / "sub");
    Outcome in = In(work_, out.tar);
    ASSERT_TRUE(in.end.has_value()) << (in.error ? in.error->message : "");
    EXPECT_EQ(Slurp(work_ / "sub" / "kept"), "kept");
    EXPECT_EQ(Slurp(work_ / "top"), "top");
    EXPECT_FALSE(fs::exists(work_ / "changed"));
    // Whatever could not be deleted yet is in no archive.
    EXPECT_EQ(Out(work_).end->files, out.end->files);
  }
  ASSERT_TRUE(In(work_, out.tar).end.has_value());
  EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 2);
}

// As in a sandbox: the directory and what is in it come from the image.
TEST_F(TarTest, DirectoriesOfALowerLayerAreReplacedToo) {
  StopAgent();
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    GTEST_SKIP() << "cannot mount";
  }
  fs::path layers = dir_ / "layers";
  fs::create_directory(layers);
  ASSERT_EQ(mount("tmpfs", layers.c_str(), "tmpfs", 0, nullptr), 0);
  for (const char* name : {"lower/sub/deeper", "upper", "work"}) {
    fs::create_directories(layers / name);
  }
  Write(layers / "lower" / "sub" / "deeper" / "file", "from below");
  Write(layers / "lower" / "top", "from below");
  chmod((layers / "lower" / "sub").c_str(), 0751);
  std::string options = "lowerdir=" + (layers / "lower").string() +
                        ",upperdir=" + (layers / "upper").string() +
                        ",workdir=" + (layers / "work").string();
  ASSERT_EQ(mount("overlay", work_.c_str(), "overlay", 0, options.c_str()), 0);
  StartAgent({});
  std::string before = Describe(work_);
  Outcome out = Out(work_);
  ASSERT_TRUE(out.end.has_value()) << (out.error ? out.error->message : "");
  {
    // What cannot move lets the whole restore fail, after much has been moved away already.
    fs::create_directories(work_ / "zzz" / "mounted");
    ASSERT_EQ(mount("tmpfs", (work_ / "zzz" / "mounted").c_str(), "tmpfs", 0, nullptr), 0);
    ASSERT_EQ(mount("tmpfs", (work_ / "zzz").c_str(), "tmpfs", 0, nullptr), 0);
    Outcome in = In(work_, Archive(TarEntry("new", '0', "new")));
    EXPECT_TRUE(in.error.has_value());
    umount((work_ / "zzz").c_str());
    umount((work_ / "zzz" / "mounted").c_str());
    fs::remove_all(work_ / "zzz");
    EXPECT_EQ(Slurp(work_ / "sub" / "deeper" / "file"), "from below");
    EXPECT_EQ(Slurp(work_ / "top"), "from below");
    EXPECT_EQ(std::distance(fs::directory_iterator(work_), {}), 2);
  }
  for (int i = 0; i < 2; ++i) {
    BusyWriter writer(work_ / "sub");
    Outcome in = In(work_, out.tar);
    ASSERT_TRUE(in.end.has_value()) << (in.error ? in.error->message : "");
    EXPECT_EQ(Out(work_).end->files, out.end->files);
  }
  ASSERT_TRUE(In(work_, out.tar).end.has_value());
  EXPECT_EQ(Describe(work_), before);
  StopAgent();
  umount2(work_.c_str(), MNT_DETACH);
  umount2(layers.c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace atl::agent
