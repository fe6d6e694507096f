// SPDX-License-Identifier: Apache-2.0
#include "agent/agent_fixture_test.h"
#include "agent/ring.h"

namespace atl::agent {
namespace {

class DetachedTest : public AgentTest {
 protected:
  protocol::Spawn Named(const std::string& name, const std::string& script) {
    protocol::Spawn request = Shell(script);
    request.detached = true;
    request.name = name;
    return request;
  }
  Result<protocol::Started> Start(const protocol::Spawn& request) {
    Client client(Connect());
    return client.Ask<protocol::Started>(request);
  }
  protocol::Processes List() {
    Client client(Connect());
    return client.Ask<protocol::Processes>(protocol::ListProcesses{}).value();
  }
  Outcome Attach(const std::string& name, uint64_t offset, uint64_t* from = nullptr) {
    Client client(Connect());
    auto attached =
        client.Ask<protocol::Attached>(protocol::Attach{.name = name, .offset = offset});
    if (!attached) return {.error = attached.error()};
    if (from != nullptr) *from = attached->offset;
    return Collect(&client);
  }
};

TEST(RingTest, KeepsTheLastBytesByOffset) {
  Ring ring(8);
  ring.Append("abc");
  EXPECT_EQ(ring.begin(), 0U);
  EXPECT_EQ(ring.Read(1, 100), "bc");
  ring.Append("defghijk");
  EXPECT_EQ(ring.begin(), 3U);
  EXPECT_EQ(ring.end(), 11U);
  EXPECT_EQ(ring.Read(3, 100), "defghijk");
  EXPECT_EQ(ring.Read(9, 1), "j");
  EXPECT_EQ(ring.Read(11, 100), "");
  ring.Append("0123456789ABCDEF");
  EXPECT_EQ(ring.end(), 27U);
  EXPECT_EQ(ring.Read(ring.begin(), 100), "89ABCDEF");
}

TEST_F(DetachedTest, OutlivesItsConnectionAndCanBeFollowed) {
  auto started = Start(Named("job", "echo one; echo two >&2; sleep 0.3; echo three; exit 5"));
  ASSERT_TRUE(started.has_value()) << started.error().message;
  Outcome outcome = Attach("job", 0);
  EXPECT_EQ(outcome.out, "one\ntwo\nthree\n");
  ASSERT_TRUE(outcome.exited.has_value());
  EXPECT_EQ(outcome.exited->exit_code, 5);
  // It can be read again, from anywhere.
  EXPECT_EQ(Attach("job", 4).out, "two\nthree\n");
  EXPECT_EQ(Attach("job", UINT64_MAX).out, "");
  auto list = List();
  ASSERT_EQ(list.processes.size(), 1U);
  EXPECT_EQ(list.processes[0].name, "job");
  EXPECT_FALSE(list.processes[0].running);
  EXPECT_EQ(list.processes[0].exited.exit_code, 5);
  EXPECT_EQ(list.processes[0].output_end, 14U);
}

TEST_F(DetachedTest, ARunningNameIsTakenAndAnEndedOneIsFree) {
  ASSERT_TRUE(Start(Named("job", "sleep 1000")).has_value());
  auto again = Start(Named("job", "true"));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, Code::kAlreadyExists);
  {
    Client client(Connect());
    EXPECT_TRUE(
        client.Ask<protocol::Ok>(protocol::Signal{.name = "job", .signo = SIGTERM, .group = true})
            .has_value());
  }
  Outcome outcome = Attach("job", 0);
  ASSERT_TRUE(outcome.exited.has_value());
  EXPECT_EQ(outcome.exited->signal, SIGTERM);
  EXPECT_TRUE(Start(Named("job", "true")).has_value());
}

TEST_F(DetachedTest, TheRingIsBoundedAndSaysWhereItBegins) {
  protocol::Spawn request = Named("job", "head -c 100000 /dev/zero | tr '\\0' x; printf END");
  request.ring_bytes = 4096;
  ASSERT_TRUE(Start(request).has_value());
  ASSERT_TRUE(Eventually([&] { return !List().processes[0].running; }));
  uint64_t from = 0;
  Outcome outcome = Attach("job", 0, &from);
  EXPECT_EQ(outcome.out.size(), 4096U);
  EXPECT_TRUE(outcome.out.ends_with("xEND"));
  EXPECT_EQ(from, 100'003U - 4096U);
}

TEST_F(DetachedTest, UnknownNamesAndPidsAreNotFound) {
  EXPECT_EQ(Attach("nobody", 0).error->code, Code::kNotFound);
  for (const protocol::Signal& signal :
       {protocol::Signal{.name = "nobody", .signo = SIGTERM},
        protocol::Signal{.pid = 1, .signo = SIGTERM},
        protocol::Signal{.pid = static_cast<uint32_t>(SpawnerPid()), .signo = SIGTERM}}) {
    Client client(Connect());
    auto answer = client.Ask<protocol::Ok>(signal);
    ASSERT_FALSE(answer.has_value());
    EXPECT_EQ(answer.error().code, Code::kNotFound);
  }
  EXPECT_EQ(Start(Named("", "true")).error().code, Code::kInvalidArgument);
  EXPECT_EQ(Start(Named("job", "true")).has_value(), true);
  protocol::Spawn missing = Named("x", "");
  missing.argv = {"/no/such/program"};
  EXPECT_EQ(Start(missing).error().reason, "COMMAND_NOT_FOUND");
}

TEST_F(DetachedTest, AnAttachedClientMayLeave) {
  ASSERT_TRUE(Start(Named("job", "while echo tick; do sleep 0.01; done")).has_value());
  size_t before = AgentFds();
  for (int i = 0; i < 20; ++i) {
    Client client(Connect());
    ASSERT_TRUE(client.Ask<protocol::Attached>(protocol::Attach{.name = "job"}).has_value());
    ASSERT_TRUE(client.reader().Next().has_value());
  }
  EXPECT_TRUE(Eventually([&] { return AgentFds() <= before; }));
  EXPECT_TRUE(List().processes[0].running);
}

}  // namespace
}  // namespace atl::agent
