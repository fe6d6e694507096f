// SPDX-License-Identifier: Apache-2.0
#include "opencode/launch.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <limits>
#include <optional>

#include "http/client.h"
#include "json/reader.h"

namespace atl::opencode {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kName = "opencode";
constexpr std::string_view kReadyLine = "opencode server listening on";
constexpr milliseconds kProbePause{500};
// After the ready line, the first healthy answer takes milliseconds.
constexpr milliseconds kReadyPause{20};
constexpr int kReadyProbes = 100;
// A server that is found running is healthy, or hangs and is replaced.
constexpr milliseconds kAdoptLimit{20'000};
constexpr milliseconds kEndLimit{5'000};
constexpr size_t kTailBytes = 2000;
constexpr size_t kHealthBytes = 4096;

// Where the agent writes the environment of a sandbox that was prepared (protocol::Configure).
constexpr std::string_view kEnvFile = "/.atoll/env.sh";

// The temporary directory is new for every start: OpenCode leaves 6 MB there each time. So are the
// locks, which a server that was killed leaves behind and which would delay this one.
constexpr std::string_view kScript = R"sh(
if ! [ -s /opt/opencode/bin/opencode ]; then
  echo "OpenCode is not installed on this host" >&2
  exit 127
fi
rm -rf /run/oc-tmp /root/.local/state/opencode/locks
mkdir -m 700 /run/oc-tmp && echo '{}' > /run/oc-tmp/models.json || exit 1
exec /opt/opencode/bin/opencode serve --hostname 127.0.0.1 --port 4096
)sh";

struct Startup {
  sandbox::AgentClient& agent;
  bool healthy = false;
  std::string why = "it does not answer";
  std::string tail;  // of its output
};

Unexpected StartupFailed(std::string message) {
  return Fail(Code::kUnavailable, "OpenCode did not start: " + std::move(message),
              "OPENCODE_STARTUP_FAILED");
}

async::Task<> Probe(sandbox::AgentClient& agent, bool& healthy) {
  Result<async::Stream> stream = co_await agent.Dial(kPort);
  if (!stream) co_return;
  std::unique_ptr<http::Transport> transport = http::PlainTransport(std::move(*stream));
  http::RequestHead head;
  head.method = "GET";
  head.target = "/global/health";
  head.host = fmt::format("127.0.0.1:{}", kPort);
  head.headers.Add("Host", head.host);
  head.headers.Add("Connection", "close");
  Result<http::Response> response =
      co_await http::Fetch(*transport, std::move(head), std::string(), kHealthBytes);
  if (!response || response->head.status != 200) co_return;
  // Unknown paths are answered 200 with a page, so the body decides.
  Result<json::Object> body = json::Object::Parse(response->body);
  if (!body) co_return;
  Result<std::optional<bool>> says = body->OptionalBool("healthy");
  healthy = says && says->value_or(false);
}

// A probe that is cancelled because the other one succeeded has nothing to say.
async::Task<> ProbeInto(Startup& startup) {
  bool healthy = co_await IsHealthy(startup.agent);
  if (healthy) startup.healthy = true;
}

std::string EndText(const sandbox::ProcessEvent& event) {
  if (event.out_of_memory) return "it ran out of the sandbox's memory";
  if (event.signal != 0) return fmt::format("signal {} ended it", event.signal);
  return fmt::format("it ended with exit code {}", event.exit_code);
}

// Follows the output up to the ready line; ends when the server is healthy or never will be.
async::Task<> FollowOutput(Startup& startup) {
  Result<std::unique_ptr<sandbox::Process>> process =
      co_await startup.agent.Attach(std::string(kName), 0);
  if (!process) {
    startup.why = process.error().message;
    co_return;
  }
  for (;;) {
    Result<sandbox::ProcessEvent> event = co_await (*process)->Next();
    if (!event) {
      startup.why = event.error().message;
      co_return;
    }
    if (event->kind == sandbox::ProcessEvent::Kind::kExited) {
      startup.why = EndText(*event);
      co_return;
    }
    startup.tail.append(event->data);
    if (startup.tail.find(kReadyLine) != std::string::npos) break;
    if (startup.tail.size() > 2 * kTailBytes) {
      startup.tail.erase(0, startup.tail.size() - kTailBytes);
    }
  }
  for (int i = 0; i < kReadyProbes; ++i) {
    co_await ProbeInto(startup);
    if (startup.healthy) co_return;
    co_await async::Sleep(kReadyPause);
  }
  startup.why = "it says that it listens but does not answer";
}

// Finds a server healthy whose ready line is long gone.
async::Task<> ProbeUntilHealthy(Startup& startup) {
  while (!startup.healthy) {
    co_await async::Sleep(kProbePause);
    co_await ProbeInto(startup);
  }
}

async::Task<> WaitHealthy(Startup& startup) {
  co_await async::Race(FollowOutput(startup), ProbeUntilHealthy(startup));
}

async::Task<> WaitForEndInto(sandbox::AgentClient& agent, std::string& why) {
  why = co_await WaitForEnd(agent);
}

// The last lines, without the control characters of a terminal.
std::string Printable(std::string_view tail) {
  tail = tail.substr(tail.size() - std::min(tail.size(), kTailBytes));
  std::string out;
  for (char c : tail) {
    if (c == '\n') out += ' ';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return std::string(http::Trim(out));
}

}  // namespace

sandbox::SpawnSpec ServerSpec(const Options& options, bool prepared) {
  sandbox::SpawnSpec spec;
  spec.argv = {"bash", "-c", std::string(kScript), "opencode"};
  spec.cwd = "/workspace";
  spec.env = {
      {"HOME", "/root"},
      {"TMPDIR", "/run/oc-tmp"},
      {"OPENCODE_DISABLE_MODELS_FETCH", "1"},
      {"OPENCODE_MODELS_PATH", "/run/oc-tmp/models.json"},
      {"OPENCODE_DISABLE_AUTOUPDATE", "1"},
      {"OPENCODE_DISABLE_LSP_DOWNLOAD", "1"},
      {"OPENCODE_DISABLE_SHARE", "1"},
      {"OPENCODE_EXPERIMENTAL_DISABLE_FILEWATCHER", "true"},
      {"OPENCODE_CONFIG_CONTENT", ConfigContent(options)},
  };
  if (prepared) spec.env.emplace_back("BASH_ENV", kEnvFile);
  return spec;
}

std::string ServerIdentity(const Options& options) {
  sandbox::SpawnSpec spec = ServerSpec(options, true);
  std::string text;
  for (const std::string& argument : spec.argv) text += argument + "\n";
  for (const auto& [name, value] : spec.env) text += name + "=" + value + "\n";
  return text;
}

async::Task<bool> IsHealthy(sandbox::AgentClient& agent, milliseconds limit) {
  bool healthy = false;
  bool in_time = co_await async::WithTimeout(limit, Probe(agent, healthy));
  co_return in_time&& healthy;
}

async::Task<Result<bool>> IsRunning(sandbox::AgentClient& agent) {
  CO_ASSIGN(std::vector<sandbox::DetachedInfo> all, co_await agent.ListDetached());
  co_return std::ranges::any_of(
      all, [](const sandbox::DetachedInfo& one) { return one.name == kName && one.running; });
}

async::Task<Result<void>> BringUp(sandbox::AgentClient& agent, const Options& options,
                                  bool prepared) {
  CO_ASSIGN(bool running, co_await IsRunning(agent));
  if (running) {
    Startup found{.agent = agent};
    found.healthy = co_await IsHealthy(agent);
    if (!found.healthy) co_await async::WithTimeout(kAdoptLimit, WaitHealthy(found));
    if (found.healthy) co_return Result<void>();
    co_await Kill(agent);
  }
  sandbox::SpawnSpec spec = ServerSpec(options, prepared);
  CO_TRY(co_await agent.SpawnDetached(std::string(kName), std::move(spec)));
  Startup startup{.agent = agent};
  co_await async::WithTimeout(options.start_limit, WaitHealthy(startup));
  if (startup.healthy) co_return Result<void>();
  co_await Kill(agent);
  std::string tail = Printable(startup.tail);
  co_return StartupFailed(tail.empty() ? startup.why : startup.why + ": " + tail);
}

async::Task<> Kill(sandbox::AgentClient& agent) {
  Result<void> sent = co_await agent.SignalDetached(std::string(kName), SIGKILL);
  if (!sent) co_return;  // it has ended
  std::string why;
  co_await async::WithTimeout(kEndLimit, WaitForEndInto(agent, why));
}

async::Task<> End(sandbox::AgentClient& agent) {
  Result<void> sent = co_await agent.SignalDetached(std::string(kName), SIGTERM);
  if (!sent) co_return;  // it has ended
  std::string why;
  co_await async::WithTimeout(kEndLimit, WaitForEndInto(agent, why));
  Result<bool> running = co_await IsRunning(agent);
  if (running && *running) co_await Kill(agent);
}

bool KeepsStateIn(std::string_view dir) {
  constexpr std::string_view kPlaces[] = {"/root/.local/share/opencode", "/root/.config/opencode",
                                          "/root/.local/state/opencode"};
  return std::ranges::any_of(kPlaces, [dir](std::string_view place) {
    bool inside =
        dir.starts_with(place) && (dir.size() == place.size() || dir[place.size()] == '/');
    bool around = place.starts_with(dir) && place[dir.size()] == '/';
    return inside || around;
  });
}

async::Task<std::string> WaitForEnd(sandbox::AgentClient& agent) {
  constexpr uint64_t kFromNowOn = std::numeric_limits<uint64_t>::max();
  Result<std::unique_ptr<sandbox::Process>> process =
      co_await agent.Attach(std::string(kName), kFromNowOn);
  if (!process) co_return process.error().message;
  for (;;) {
    Result<sandbox::ProcessEvent> event = co_await (*process)->Next();
    if (!event) co_return event.error().message;
    if (event->kind == sandbox::ProcessEvent::Kind::kExited) co_return EndText(*event);
  }
}

}  // namespace atl::opencode
