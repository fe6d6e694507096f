// SPDX-License-Identifier: Apache-2.0
// Restores that are killed, disturbed by a writer, or on a lower layer of an overlay.
#include <sched.h>
#include <sys/mount.h>

#include <atomic>

#include "agent/tar_fixture_test.h"

namespace atl::agent {
namespace {

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
