// SPDX-License-Identifier: Apache-2.0
#include "sandbox/services.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "sandbox/rows.h"

namespace atl::sandbox {
namespace {

class ServiceBookTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/atoll-services-test-XXXXXX";
    dir_ = mkdtemp(name);
    database_ = db::Database::Open(dir_ / "state.db").value();
    Rows rows(*database_);
    for (const char* id : {"one", "two"}) {
      ASSERT_TRUE(rows.Insert({.id = id, .iid = Iid(id), .image = "default"}));
    }
  }
  void TearDown() override {
    database_.reset();
    std::filesystem::remove_all(dir_);
  }
  static std::string Iid(const std::string& id) { return std::string(13, '0') + id; }
  static Service Named(std::string process, bool keep_awake = false) {
    Service service{.request = {.id = std::move(process), .program = {}}, .keep_awake = keep_awake};
    service.request.program.argv = {"a", "b c", ""};
    service.request.program.env = {{"A", "1"}, {"B", "ü\n"}};
    service.request.program.cwd = "/tmp";
    service.request.program.user = "nobody";
    service.request.restart = Restart::kOnFailure;
    return service;
  }

  std::filesystem::path dir_;
  std::unique_ptr<db::Database> database_;
};

TEST_F(ServiceBookTest, IsTheSameForTheNextDaemon) {
  ServiceBook book(*database_);
  ASSERT_TRUE(book.Put(Iid("one"), Named("web", true)));
  ASSERT_TRUE(book.Put(Iid("two"), Named("db")));
  ServiceBook next(*database_);
  ASSERT_TRUE(next.Load());
  auto found = next.Find(Iid("one"), "web");
  ASSERT_TRUE(found);
  Service wanted = Named("web", true);
  EXPECT_EQ(found->request.program.argv, wanted.request.program.argv);
  EXPECT_EQ(found->request.program.env, wanted.request.program.env);
  EXPECT_EQ(found->request.program.cwd, "/tmp");
  EXPECT_EQ(found->request.program.user, "nobody");
  EXPECT_EQ(found->request.restart, Restart::kOnFailure);
  EXPECT_TRUE(next.KeepsAwake(Iid("one")));
  EXPECT_FALSE(next.KeepsAwake(Iid("two")));
  EXPECT_FALSE(next.Find(Iid("two"), "web"));
}

TEST_F(ServiceBookTest, ForgetsOneAllAndThoseOfSandboxesThatAreGone) {
  ServiceBook book(*database_);
  for (const char* process : {"a", "b", "c"}) ASSERT_TRUE(book.Put(Iid("one"), Named(process)));
  ASSERT_TRUE(book.Put(Iid("two"), Named("a")));
  ASSERT_TRUE(book.Forget(Iid("one"), "a"));
  ASSERT_TRUE(book.Forget(Iid("one"), "none"));
  EXPECT_EQ(book.Of(Iid("one")).size(), 2);
  ASSERT_TRUE(book.Forget(Iid("one"), ""));
  EXPECT_TRUE(book.Of(Iid("one")).empty());
  ASSERT_TRUE(Rows(*database_).Remove(Iid("two")));
  ServiceBook next(*database_);
  ASSERT_TRUE(next.Load());
  EXPECT_TRUE(next.Of(Iid("two")).empty());
  EXPECT_EQ(next.Put(Iid("two"), Named("a")).error().reason, "SANDBOX_NOT_FOUND");
}

TEST_F(ServiceBookTest, AreBounded) {
  ServiceBook book(*database_);
  for (size_t i = 0; i < kMostServices; ++i) {
    ASSERT_TRUE(book.Put(Iid("one"), Named("p" + std::to_string(i))));
  }
  EXPECT_EQ(book.Put(Iid("one"), Named("more")).error().reason, "TOO_MANY_SERVICES");
  EXPECT_TRUE(book.Put(Iid("one"), Named("p0", true)));
  EXPECT_EQ(book.Of(Iid("one")).size(), kMostServices);
  EXPECT_TRUE(book.KeepsAwake(Iid("one")));
}

}  // namespace
}  // namespace atl::sandbox
