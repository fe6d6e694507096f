// SPDX-License-Identifier: Apache-2.0
#include "agent/tar_session.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "agent/spawn_session.h"

namespace atl::agent {
namespace {

using protocol::FrameType;

constexpr size_t kMaxOutcomeBytes = 64U << 10U;

// The child, and the promise that it does not outlive the operation.
class TarProcess {
 public:
  explicit TarProcess(Processes* processes) : processes_(processes) {}
  ~TarProcess() {
    if (!child_) return;
    // Without its pipes it ends by itself and tidies up, as after a cut connection.
    pipes = {};
    pollfd exited{.fd = child_->exited_fd(), .events = POLLIN, .revents = 0};
    if (poll(&exited, 1, 60'000) <= 0) processes_->Kill(*child_);
  }
  TarProcess(const TarProcess&) = delete;
  TarProcess& operator=(const TarProcess&) = delete;

  Result<void> Start(const std::string& verb, const std::string& dir, bool want_stdin) {
    Program program{
        .argv = {"atoll-agent", verb, dir}, .env = {"LC_ALL=C"}, .cwd = "/", .self = true};
    if (dir.find('\0') != std::string::npos) {
      return Fail(Code::kInvalidArgument, "the directory's path is not usable");
    }
    ASSIGN(child_, StartWithPipes(processes_, program, want_stdin, false, &pipes));
    return {};
  }

  // Reads a piece of the outcome; closes the pipe at its end.
  void ReadOutcome() {
    std::array<char, 4096> buffer{};
    ssize_t count = read(pipes.err.get(), buffer.data(), buffer.size());
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0 || outcome_.size() > kMaxOutcomeBytes) {
      pipes.err.Reset();
      return;
    }
    outcome_.append(buffer.data(), static_cast<size_t>(count));
  }

  // The frame that the child left, after it closed its pipes.
  Result<protocol::End> Outcome() const {
    protocol::FrameParser parser;
    parser.Feed(outcome_);
    ASSIGN(auto frame, parser.Next());
    if (frame) return protocol::Expect<protocol::End>(*frame);
    return Fail(Code::kResourceExhausted,
                "the archive process ended early (the sandbox may be out of memory)");
  }

  ProgramPipes pipes;

 private:
  Processes* processes_;
  std::shared_ptr<Child> child_;
  std::string outcome_;
};

// The client has nothing to say: anything readable means that it is gone.
bool ClientGone(const pollfd& client) { return (client.revents & ~POLLOUT) != 0; }

}  // namespace

Result<void> RunTarOut(const protocol::TarOut& request, int socket, Processes* processes,
                       Outbox* outbox) {
  TarProcess tar(processes);
  TRY(tar.Start("tar-out", request.dir, false));
  while (tar.pipes.out || tar.pipes.err || !outbox->empty()) {
    if (!outbox->Flush()) return {};
    bool room = outbox->empty();
    std::array<pollfd, 3> fds{{
        {.fd = socket, .events = static_cast<short>(POLLIN | (room ? 0 : POLLOUT)), .revents = 0},
        {.fd = room ? tar.pipes.out.get() : -1, .events = POLLIN, .revents = 0},
        {.fd = tar.pipes.err.get(), .events = POLLIN, .revents = 0},
    }};
    if (room && !tar.pipes.out && !tar.pipes.err) break;
    poll(fds.data(), fds.size(), -1);
    if (ClientGone(fds[0])) return {};
    if (fds[1].revents != 0) {
      ssize_t count = outbox->ReadFrom(tar.pipes.out.get(), FrameType::kTar);
      if (count == 0 || (count < 0 && errno != EAGAIN)) tar.pipes.out.Reset();
      if (count > 0) GrowPipe(tar.pipes.out.get(), count);
    }
    if (fds[2].revents != 0) tar.ReadOutcome();
  }
  ASSIGN(protocol::End end, tar.Outcome());
  TRY(outbox->Put(end));
  return outbox->FlushAll();
}

namespace {

// What is on its way to the child: the client's frames as they are.
class FrameForwarder {
 public:
  bool empty() const { return pending_.empty(); }
  bool ended() const { return ended_; }

  // Takes the next frame that has come, if there is one. False: it does not belong here.
  Result<void> Take(protocol::FrameParser* parser) {
    if (!pending_.empty() || ended_) return {};
    ASSIGN(auto frame, parser->Next());
    if (!frame) return {};
    if (frame->type != FrameType::kTar && frame->type != FrameType::kTarEnd) {
      return Fail(Code::kInvalidArgument, "a frame of another kind within the archive");
    }
    ended_ = frame->type == FrameType::kTarEnd;
    pending_ = protocol::EncodeFrame(frame->type, frame->payload);
    return {};
  }

  // Writes what the pipe takes. False: the child reads no more.
  bool Write(int pipe) {
    while (written_ < pending_.size()) {
      ssize_t count = write(pipe, pending_.data() + written_, pending_.size() - written_);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno == EAGAIN;
      written_ += static_cast<size_t>(count);
    }
    pending_.clear();
    written_ = 0;
    return true;
  }

 private:
  std::string pending_;
  size_t written_ = 0;
  bool ended_ = false;
};

}  // namespace

Result<void> RunTarIn(const protocol::TarIn& request, int socket, protocol::FrameParser* parser,
                      Processes* processes, Outbox* outbox) {
  TarProcess tar(processes);
  TRY(tar.Start("tar-in", request.dir, true));
  FrameForwarder forwarder;
  while (tar.pipes.err) {
    TRY(forwarder.Take(parser));
    if (tar.pipes.in && !forwarder.Write(tar.pipes.in.get())) tar.pipes.in.Reset();
    bool want_input = forwarder.empty() && !forwarder.ended();
    std::array<pollfd, 3> fds{{
        {.fd = socket, .events = static_cast<short>(want_input ? POLLIN : 0), .revents = 0},
        {.fd = forwarder.empty() ? -1 : tar.pipes.in.get(), .events = POLLOUT, .revents = 0},
        {.fd = tar.pipes.err.get(), .events = POLLIN, .revents = 0},
    }};
    if (want_input && parser->pending() > 0) {
      // A whole frame may already be here: look again before waiting.
      TRY(forwarder.Take(parser));
      if (!forwarder.empty()) continue;
    }
    poll(fds.data(), fds.size(), -1);
    if (fds[2].revents != 0) {
      tar.ReadOutcome();
      continue;
    }
    if ((fds[0].revents & POLLIN) != 0 && !ReceiveSome(socket, parser)) return {};
    if ((fds[0].revents & (POLLHUP | POLLERR)) != 0 && (fds[0].revents & POLLIN) == 0) return {};
  }
  ASSIGN(protocol::End end, tar.Outcome());
  TRY(outbox->Put(end));
  return outbox->FlushAll();
}

}  // namespace atl::agent
