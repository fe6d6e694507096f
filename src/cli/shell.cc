// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <utility>

#include "async/descriptor.h"
#include "async/runtime.h"
#include "cli/api_client.h"
#include "cli/raw_terminal.h"
#include "cli/verbs.h"
#include "crypto/bytes.h"
#include "json/reader.h"
#include "sandbox/id.h"

namespace atl::cli {
namespace {

using async::Descriptor;
using std::chrono::milliseconds;

// For how long a terminal of nobody's name outlives a connection that is lost.
constexpr int kLingerSeconds = 60;
constexpr milliseconds kRetryPause{500};
constexpr std::chrono::seconds kRetryLimit{30};
// Ctrl-], which twice in a moment leaves a terminal that has a name. Once it is a key as others.
constexpr char kLeaveKey = 0x1d;
constexpr milliseconds kLeaveMoment{500};

std::string PercentEncode(std::string_view text) {
  std::string encoded;
  for (char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '_' || c == '.' || c == '/';
    if (plain) encoded += c;
    if (!plain) encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

struct Session {
  const Globals& globals;
  ApiClient client;
  std::string path;  // without what changes from one connection to the next
  Descriptor& keys;
  Descriptor& signals;
  std::unique_ptr<http::WebSocket> socket;
  uint64_t offset = 0;  // of the output, up to which it was shown
  bool begun = false;
  bool may_leave = false;
  bool leave_key = false;  // it was typed, and is not sent yet
  std::optional<int> exit_code;
  std::optional<Error> error;
};

std::string Target(const Session& session) {
  ScreenSize size = RawTerminal::Size();
  std::string target = fmt::format("{}&cols={}&rows={}", session.path, size.cols, size.rows);
  // The same terminal as before, or none.
  if (session.begun) target += fmt::format("&create=0&since={}", session.offset);
  return target;
}

async::Task<Result<void>> Say(http::WebSocket& socket) {
  ScreenSize size = RawTerminal::Size();
  std::string text =
      fmt::format(R"({{"type":"resize","cols":{},"rows":{}}})", size.cols, size.rows);
  Result<void> sent = co_await socket.SendText(text);
  co_return sent;
}

// What of `typed` is to be sent on; nothing when it says that the person leaves.
std::optional<std::string> KeysOf(Session& session, std::string_view typed) {
  std::string keys;
  for (char key : typed) {
    bool leave_key = session.may_leave && key == kLeaveKey;
    if (leave_key && session.leave_key) return std::nullopt;
    if (std::exchange(session.leave_key, leave_key)) keys += kLeaveKey;
    if (!leave_key) keys += key;
  }
  return keys;
}

async::Task<> AwaitKeys(Session& session, Result<void>& ready) {
  ready = co_await session.keys.Wait(Descriptor::Ready::kRead);
}

// What is typed, until the connection ends.
async::Task<> PassKeys(Session& session) {
  std::vector<char> piece(16UL * 1024);
  while (true) {
    Result<void> ready;
    if (session.leave_key) {
      bool more = co_await async::WithTimeout(kLeaveMoment, AwaitKeys(session, ready));
      if (!more) {
        session.leave_key = false;
        Result<void> sent = co_await session.socket->SendBinary(std::string_view(&kLeaveKey, 1));
        if (!sent) co_return;
        continue;
      }
    } else {
      co_await AwaitKeys(session, ready);
    }
    if (!ready) co_return;
    ssize_t n = ::read(session.keys.fd(), piece.data(), piece.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) {
      // The terminal's window was closed.
      session.exit_code = 128 + SIGHUP;
      co_return;
    }
    auto bytes = KeysOf(session, std::string_view(piece.data(), static_cast<size_t>(n)));
    if (!bytes) {
      fmt::print(stderr, "\r\natoll: you have left the session, which goes on\r\n");
      session.exit_code = 0;
      co_return;
    }
    if (bytes->empty()) continue;
    Result<void> sent = co_await session.socket->SendBinary(*bytes);
    if (!sent) co_return;
  }
}

async::Task<> PassSignals(Session& session) {
  while (true) {
    Result<void> ready = co_await session.signals.Wait(Descriptor::Ready::kRead);
    if (!ready) co_return;
    signalfd_siginfo info{};
    if (::read(session.signals.fd(), &info, sizeof(info)) != sizeof(info)) continue;
    if (info.ssi_signo != SIGWINCH) {
      session.exit_code = 128 + static_cast<int>(info.ssi_signo);
      co_return;
    }
    Result<void> sent = co_await Say(*session.socket);
    if (!sent) co_return;
  }
}

// False: it is over.
bool Take(Session& session, const http::WebSocketMessage& message) {
  if (!message.text) {
    session.offset += message.data.size();
    if (sys::WriteAll(STDOUT_FILENO, message.data)) return true;
    session.exit_code = 128 + SIGPIPE;
    return false;
  }
  Result<json::Object> object = json::Object::Parse(message.data);
  if (!object) return true;
  std::string type = StringField(message.data, "type");
  if (type == "ready") {
    session.begun = true;
    auto offset = object->OptionalInt("offset", {.min = 0});
    if (offset && *offset) session.offset = static_cast<uint64_t>(**offset);
  } else if (type == "skipped") {
    auto bytes = object->OptionalInt("bytes", {.min = 0});
    if (bytes && *bytes) session.offset += static_cast<uint64_t>(**bytes);
  } else if (type == "exit") {
    auto code = object->OptionalInt("code", {.min = 0, .max = 255});
    session.exit_code = static_cast<int>(code && *code ? **code : 1);
    return false;
  } else if (type == "error" && !session.begun) {
    session.error = Error{.code = Code::kUnavailable,
                          .message = StringField(message.data, "message"),
                          .reason = StringField(message.data, "code")};
    return false;
  }
  return true;
}

async::Task<> ShowOutput(Session& session) {
  while (true) {
    auto message = co_await session.socket->Read();
    if (!message || !*message) co_return;
    if (!Take(session, **message)) co_return;
  }
}

// One connection, from its beginning to its end.
async::Task<> UseConnection(Session& session) {
  co_await async::Race(async::Race(ShowOutput(session), session.socket->WatchPeer()),
                       async::Race(PassKeys(session), PassSignals(session)));
  // Who closes their window leaves, whatever the other side has to say to that.
  if (session.exit_code) co_await session.socket->Close(http::kCloseNormal, {});
}

async::Task<> Converse(Session& session) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point give_up = Clock::now();
  while (true) {
    Result<std::unique_ptr<http::WebSocket>> socket =
        co_await session.client.OpenWebSocket(Target(session));
    if (socket) {
      session.socket = *std::move(socket);
      co_await UseConnection(session);
      if (session.exit_code || session.error) co_return;
      give_up = Clock::now() + kRetryLimit;
      if (session.begun) fmt::print(stderr, "\r\natoll: the connection was lost; trying again\r\n");
    } else if (socket.error().reason == "TERMINAL_NOT_FOUND" || Clock::now() >= give_up) {
      session.error = std::move(socket).error();
      co_return;
    }
    co_await async::Sleep(kRetryPause);
    // A new daemon may be elsewhere.
    Result<ApiClient> again = ApiClient::Connect(session.globals);
    if (again) session.client = *std::move(again);
  }
}

async::Task<> Main(const Globals& globals, ApiClient client, std::string path, bool named,
                   RawTerminal& terminal, Result<int>& outcome) {
  async::Executor executor = co_await async::ThisExecutor();
  Descriptor keys(executor, terminal.TakeKeys());
  Descriptor signals(executor, terminal.TakeSignals());
  Session session{.globals = globals,
                  .client = std::move(client),
                  .path = std::move(path),
                  .keys = keys,
                  .signals = signals,
                  .may_leave = named};
  co_await Converse(session);
  if (session.error) outcome = Unexpected(*std::move(session.error));
  if (!session.error) outcome = session.exit_code.value_or(1);
}

}  // namespace

Result<int> Shell(const Globals& globals, const ShellArguments& arguments) {
  TRY(sandbox::ValidateId(arguments.id));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  bool named = !arguments.session.empty();
  std::string path =
      fmt::format("/v1/sandboxes/{}/pty?session={}", arguments.id,
                  PercentEncode(named ? arguments.session : "shell-" + crypto::RandomHex(6)));
  if (!named) path += fmt::format("&linger={}", kLingerSeconds);
  if (!arguments.shell.empty()) path += "&shell=" + PercentEncode(arguments.shell);
  if (!arguments.cwd.empty()) path += "&cwd=" + PercentEncode(arguments.cwd);
  if (!arguments.command.empty()) {
    path += "&command=" + PercentEncode(CommandLine(arguments.command));
  }
  Result<int> outcome = Fail(Code::kInternal, "the shell has not ended");
  {
    if (named) fmt::print(stderr, "atoll: Ctrl-] twice leaves this session, which then goes on\n");
    ASSIGN(RawTerminal terminal, RawTerminal::Begin());
    async::RunToEnd(Main(globals, std::move(client), std::move(path), named, terminal, outcome));
  }
  return outcome;
}

}  // namespace atl::cli
