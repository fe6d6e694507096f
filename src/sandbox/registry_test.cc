// SPDX-License-Identifier: Apache-2.0
#include "sandbox/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <thread>

#include "sandbox/rows.h"
#include "sandbox/test_world.h"

namespace atl::sandbox {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Before the first thread: see EnterPrivateMountNamespace.
class PrivateMounts : public testing::Environment {
 public:
  void SetUp() override {
    if (::geteuid() != 0) return;
    auto entered = sys::EnterPrivateMountNamespace();
    ASSERT_TRUE(entered) << entered.error().message;
  }
};
const auto* const kPrivateMounts = testing::AddGlobalTestEnvironment(new PrivateMounts);

TEST_F(RegistryTest, ACreatedSandboxRunsProgramsAndADeletedOneLeavesNothing) {
  auto created = world_->Create("demo", {.env = {{"GREETING", "hi there"}}});
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(created->info.id, "demo");
  EXPECT_EQ(created->info.state, State::kRunning);
  EXPECT_FALSE(created->phases.empty());
  EXPECT_EQ(world_->Say("demo", "hostname; echo $GREETING; echo $HOME; ls -d /workspace"),
            "demo\nhi there\n/root\n/workspace\n");
  auto failed = world_->Run("demo", "echo oops >&2; exit 3");
  EXPECT_EQ(failed->err, "oops\n");
  EXPECT_EQ(failed->exit.exit_code, 3);
  auto killed = world_->Run("demo", "kill -9 $$");
  EXPECT_EQ(killed->exit.exit_code, 137);
  EXPECT_EQ(killed->exit.signal, 9);
  EXPECT_FALSE(killed->exit.out_of_memory);

  ASSERT_TRUE(Delete("demo"));
  ExpectNothingLeft();
  EXPECT_EQ(Delete("demo").error().reason, "SANDBOX_NOT_FOUND");
  EXPECT_EQ(world_->Run("demo", "true").error().reason, "SANDBOX_NOT_FOUND");
}

TEST_F(RegistryTest, CreateIsIdempotentAndConcurrentCallsMakeOneSandbox) {
  std::vector<std::future<Result<Registry::Created>>> calls;
  for (int i = 0; i < 6; ++i) {
    calls.push_back(world_->Start(world_->registry().Create("demo", {}), 1));
  }
  std::string iid;
  for (auto& call : calls) {
    auto created = call.get();
    ASSERT_TRUE(created) << created.error().message;
    if (iid.empty()) iid = created->info.iid;
    EXPECT_EQ(created->info.iid, iid);
  }
  EXPECT_THAT(world_->registry().List(), SizeIs(1));
}

TEST_F(RegistryTest, CreateAndDeleteAtOnceEndInOneStateOrTheOther) {
  for (int round = 0; round < 5; ++round) {
    auto create = world_->Start(world_->registry().Create("demo", {}));
    auto remove = world_->Start(world_->registry().Delete("demo"));
    auto again = world_->Start(world_->registry().Create("demo", {}));
    EXPECT_TRUE(create.get());
    (void)remove.get();
    auto last = again.get();
    ASSERT_TRUE(last) << last.error().message;
    EXPECT_EQ(world_->Say("demo", "echo here"), "here\n");
    ExpectNoLeaks();
  }
}

TEST_F(RegistryTest, SandboxesHaveTheirOwnIdsAndFiles) {
  ASSERT_TRUE(world_->Create("one"));
  ASSERT_TRUE(world_->Create("two"));
  EXPECT_EQ(world_->Say("one", "echo 1 > /workspace/f; cat /workspace/f"), "1\n");
  EXPECT_EQ(world_->Say("two", "ls /workspace"), "");
  auto rows = Rows(world_->database()).All();
  ASSERT_THAT(*rows, SizeIs(2));
  EXPECT_NE((*rows)[0].id_base(), (*rows)[1].id_base());
  ASSERT_TRUE(Delete("one"));
  ASSERT_TRUE(world_->Create("three"));
  rows = Rows(world_->database()).All();
  EXPECT_NE((*rows)[0].id_base(), (*rows)[1].id_base());
}

TEST_F(RegistryTest, WhatCannotBeCreatedLeavesNothing) {
  auto no_image = world_->Create("demo", {.image = "missing"});
  ASSERT_FALSE(no_image);
  EXPECT_EQ(no_image.error().reason, "IMAGE_NOT_FOUND");
  for (auto options : {CreateOptions{.image = "../tiny"}, CreateOptions{.memory_bytes = 1},
                       CreateOptions{.memory_bytes = UINT64_MAX}, CreateOptions{.cpus = 0},
                       CreateOptions{.cpus = -1}, CreateOptions{.cpus = 100'000},
                       CreateOptions{.pids = 0}, CreateOptions{.env = {{"A B", "x"}}},
                       CreateOptions{.env = {{"A", std::string(100'000, 'x')}}}}) {
    EXPECT_FALSE(world_->Create("demo", options));
  }
  EXPECT_EQ(world_->Create("Bad_Id").error().code, Code::kInvalidArgument);
  // PID 1 cannot even begin: its program's root file system has no directory to mount it on.
  std::string bad = world_->options().images_dir + "/bad/rootfs";
  std::filesystem::create_directories(bad + "/etc");
  std::filesystem::permissions(bad, std::filesystem::perms(0));
  std::filesystem::create_symlink("/nowhere", bad + "/proc");
  auto broken = world_->Create("demo", {.image = "bad"});
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("create sandbox demo"));
  ExpectNothingLeft();
  EXPECT_TRUE(world_->Create("demo")) << "and the id is free";
}

TEST_F(RegistryTest, ANewDaemonAdoptsWhatRuns) {
  auto created = world_->Create("demo");
  ASSERT_TRUE(created);
  ASSERT_TRUE(world_->Create("other"));
  pid_t pid = PidOf(created->info.iid);
  EXPECT_EQ(world_->Say("demo", "echo kept > /tmp/f"), "");
  Restart();
  EXPECT_THAT(world_->registry().List(), SizeIs(2));
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kRunning);
  EXPECT_EQ(world_->Say("demo", "cat /tmp/f"), "kept\n");
  EXPECT_EQ(PidOf(created->info.iid), pid) << "the same container";
  ASSERT_TRUE(Delete("demo"));
  ASSERT_TRUE(Delete("other"));
  ExpectNothingLeft();
}

TEST_F(RegistryTest, AfterARebootASandboxStartsWithItsFilesWhenItIsNeeded) {
  auto created = world_->Create("demo");
  ASSERT_TRUE(created);
  EXPECT_EQ(world_->Say("demo", "echo kept > /workspace/f"), "");
  world_->Close();
  KillContainer(created->info.iid);
  Restart();
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kStopped);
  EXPECT_EQ(world_->Say("demo", "cat /workspace/f"), "kept\n");
  EXPECT_EQ(world_->registry().Find("demo")->state, State::kRunning);
  EXPECT_EQ(world_->registry().Find("demo")->iid, created->info.iid);
}

TEST_F(RegistryTest, ASandboxWhosePidOneDiedStartsAgain) {
  auto created = world_->Create("demo");
  ASSERT_TRUE(created);
  EXPECT_EQ(world_->Say("demo", "echo kept > /workspace/f"), "");
  KillContainer(created->info.iid);
  EXPECT_EQ(world_->Say("demo", "cat /workspace/f"), "kept\n");
  KillContainer(created->info.iid);
  auto again = world_->Create("demo");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(world_->Say("demo", "cat /workspace/f"), "kept\n");
}

TEST_F(RegistryTest, IdsThatFilesStillHaveAreNotGivenAway) {
  auto first = world_->Create("first");
  ASSERT_TRUE(first) << first.error().message;
  const uint32_t ids = Rows(world_->database()).All()->front().id_base();
  ASSERT_TRUE(Delete("first"));
  ASSERT_TRUE(world_->launcher().trash().AwaitEmpty(std::chrono::seconds(30)));
  // As if its files could not be removed.
  const std::string trash = world_->options().state_dir + "/trash/" + first->info.iid;
  const std::string again = trash + "/upper";
  ASSERT_TRUE(sys::MakeDirs(again + "/held"));
  ASSERT_EQ(0, ::chown(again.c_str(), ids, ids));
  ASSERT_EQ(0, ::mount("tmpfs", (again + "/held").c_str(), "tmpfs", 0, nullptr));
  ASSERT_TRUE(world_->Create("second"));
  EXPECT_NE(ids, Rows(world_->database()).All()->front().id_base());
  ASSERT_EQ(0, ::umount((again + "/held").c_str()));
  ASSERT_TRUE(sys::RemoveTree(trash));
  ASSERT_TRUE(world_->launcher().trash().AwaitEmpty(std::chrono::seconds(30)));
  ASSERT_TRUE(Delete("second"));
  ASSERT_TRUE(world_->launcher().trash().AwaitEmpty(std::chrono::seconds(30)));
  ASSERT_TRUE(world_->Create("third"));
  EXPECT_EQ(ids, Rows(world_->database()).All()->front().id_base());
  ASSERT_TRUE(Delete("third"));
}

TEST_F(RegistryTest, ANewDaemonUndoesAndFinishesWhatWasHalfDone) {
  auto creating = world_->Create("creating");
  auto deleting = world_->Create("deleting");
  auto running = world_->Create("running");
  ASSERT_TRUE(creating && deleting && running);
  Rows rows(world_->database());
  ASSERT_TRUE(rows.SetState(creating->info.iid, State::kCreating));
  ASSERT_TRUE(rows.SetState(deleting->info.iid, State::kDeleting));
  // A container whose row is gone altogether.
  auto orphan = world_->Create("orphan");
  ASSERT_TRUE(orphan);
  ASSERT_TRUE(rows.Remove(orphan->info.iid));
  // A row whose daemon was killed before anything was made.
  ASSERT_TRUE(rows.Insert(Row{.id = "early", .iid = "00000000000000ee", .image = "tiny"}));
  Restart();
  auto infos = world_->registry().List();
  ASSERT_THAT(infos, SizeIs(1));
  EXPECT_EQ(infos[0].id, "running");
  EXPECT_THAT(*world_->launcher().cgroups().List(), SizeIs(1));
  EXPECT_THAT(*world_->launcher().runtime().List(), SizeIs(1));
  EXPECT_EQ(world_->Say("running", "echo fine"), "fine\n");
  std::string lost = world_->options().state_dir + "/lost";
  EXPECT_THAT(oci::NamesIn(lost), SizeIs(1)) << "its files are kept";
  ASSERT_TRUE(sys::RemoveTree(lost));
}

async::Task<bool> CreateWithin(Registry& registry, std::chrono::milliseconds limit) {
  auto create = [](Registry& to) -> async::Task<> {
    CreateOptions defaults;
    co_await to.Create("demo", std::move(defaults));
  };
  bool ended = co_await async::WithTimeout(limit, create(registry));
  co_return ended;
}

TEST_F(RegistryTest, ACreateNobodyWaitsForIsFinishedAllTheSame) {
  for (int ms : {0, 2, 10, 20}) {
    (void)world_->Wait(CreateWithin(world_->registry(), std::chrono::milliseconds(ms)));
    auto created = world_->Create("demo");
    ASSERT_TRUE(created) << created.error().message;
    EXPECT_EQ(world_->Say("demo", "echo fine"), "fine\n");
    ASSERT_TRUE(Delete("demo"));
  }
  ExpectNothingLeft();
}

TEST_F(RegistryTest, ProgramsThatOutliveTheirConnection) {
  ASSERT_TRUE(world_->Create("demo"));
  auto sandbox = *world_->Wait(world_->registry().Acquire("demo"));
  SpawnSpec spec;
  spec.argv = {"sh", "-c", "echo started; sleep 100"};
  auto pid = world_->Wait(sandbox->agent().SpawnDetached("sleeper", spec));
  ASSERT_TRUE(pid) << pid.error().message;
  auto listed = world_->Wait(sandbox->agent().ListDetached());
  ASSERT_THAT(*listed, SizeIs(1));
  EXPECT_TRUE((*listed)[0].running);
  EXPECT_EQ((*listed)[0].pid, *pid);
  auto attached = world_->Wait(sandbox->agent().Attach("sleeper", 0));
  ASSERT_TRUE(attached);
  auto output = world_->Wait((*attached)->Next());
  EXPECT_EQ(output->data, "started\n");
  ASSERT_TRUE(world_->Wait(sandbox->agent().SignalDetached("sleeper", SIGTERM)));
  auto ended = world_->Wait((*attached)->Next());
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_EQ(ended->exit_code, 128 + SIGTERM);
}

TEST_F(RegistryTest, StdinAndSignals) {
  ASSERT_TRUE(world_->Create("demo"));
  auto sandbox = *world_->Wait(world_->registry().Acquire("demo"));
  SpawnSpec spec{.argv = {"cat"}, .want_stdin = true};
  auto process = *world_->Wait(sandbox->agent().Spawn(spec));
  ASSERT_TRUE(world_->Wait(process->WriteStdin("line\n")));
  EXPECT_EQ(world_->Wait(process->Next())->data, "line\n");
  ASSERT_TRUE(world_->Wait(process->CloseStdin()));
  EXPECT_EQ(world_->Wait(process->Next())->exit_code, 0);

  spec = {.argv = {"sleep", "100"}};
  process = *world_->Wait(sandbox->agent().Spawn(spec));
  ASSERT_TRUE(world_->Wait(process->Signal(SIGINT)));
  EXPECT_EQ(world_->Wait(process->Next())->exit_code, 128 + SIGINT);

  auto missing = world_->Wait(sandbox->agent().Spawn({.argv = {"no-such-program"}}));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  auto nothing = world_->Wait(sandbox->agent().Dial(4096));
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().reason, "SERVICE_NOT_RESPONDING");
}

// Not a test of speed: prints what creating costs where somebody asks for it.
TEST_F(RegistryTest, Cost) {
  const char* wanted = ::getenv("ATOLL_COST");
  if (wanted == nullptr) GTEST_SKIP() << "set ATOLL_COST to a number of rounds";
  std::map<std::string, std::vector<double>> costs;
  using Ms = std::chrono::duration<double, std::milli>;
  for (int round = 0; round < std::atoi(wanted); ++round) {
    auto created = world_->Create("demo");
    ASSERT_TRUE(created);
    for (const auto& [name, ms] : created->phases) costs[name].push_back(ms);
    for (int i = 0; i < 10; ++i) {
      auto start = std::chrono::steady_clock::now();
      EXPECT_EQ(world_->Say("demo", "echo hi"), "hi\n");
      costs[i == 0 ? "= first run" : "= run"].push_back(
          Ms(std::chrono::steady_clock::now() - start).count());
    }
    auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(Delete("demo"));
    costs["= delete"].push_back(Ms(std::chrono::steady_clock::now() - start).count());
  }
  for (auto& [name, values] : costs) {
    std::ranges::sort(values);
    fmt::print("{:12} best {:7.2f} median {:7.2f} p90 {:7.2f} ms\n", name, values.front(),
               values[values.size() / 2], values[values.size() * 9 / 10]);
  }
}

}  // namespace
}  // namespace atl::sandbox
