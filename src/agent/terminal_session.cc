// SPDX-License-Identifier: Apache-2.0
#include "agent/terminal_session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace atl::agent {
namespace {

using protocol::FrameType;

constexpr size_t kPieceBytes = 64U << 10U;

class Session {
 public:
  Session(TerminalView* view, int socket, protocol::FrameParser* parser, Outbox* outbox,
          bool with_usage)
      : terminal_(view->terminal()),
        viewer_(view->viewer()),
        socket_(socket),
        parser_(parser),
        outbox_(outbox),
        with_usage_(with_usage),
        replay_end_(terminal_.end()) {}

  Result<void> Run(bool created) {
    TRY(outbox_->Put(protocol::TerminalOpened{
        .pid = terminal_.pid(), .created = created, .offset = viewer_->offset}));
    bool on = HandleInput();
    while (on) {
      if (!outbox_->Flush()) return {};
      if (outbox_->empty() && ended_) return {};
      if (outbox_->empty()) TRY(NextFrame());
      if (!outbox_->Flush()) return {};
      // Also when there is more to say: a client that is flooded may want to type ^C.
      on = Wait(outbox_->empty() && more_ ? 0 : -1);
    }
    return {};
  }

 private:
  // Puts the next thing there is to say.
  Result<void> NextFrame() {
    more_ = true;
    if (!pending_.empty()) {
      TRY(outbox_->PutFrame(protocol::EncodeFrame(FrameType::kStdout, pending_)));
      pending_.clear();
      return {};
    }
    if (!replayed_ && viewer_->offset >= replay_end_) {
      replayed_ = true;
      return outbox_->PutFrame(protocol::EncodeFrame(FrameType::kTerminalReplayed));
    }
    // Before the look: what comes after it is announced again.
    eventfd_t count = 0;
    eventfd_read(viewer_->more.get(), &count);
    Terminal::Piece piece = terminal_.Read(viewer_, kPieceBytes);
    if (piece.exited) {
      ended_ = true;
      ASSIGN(std::string end, protocol::Encode(*piece.exited));
      if (!with_usage_) return outbox_->PutFrame(end);
      ASSIGN(std::string usage, protocol::Encode(piece.usage));
      return outbox_->PutFrame(usage + end);
    }
    if (piece.skipped > 0) {
      pending_ = std::move(piece.bytes);
      return outbox_->Put(protocol::TerminalSkipped{.bytes = piece.skipped});
    }
    more_ = !piece.bytes.empty();
    if (!more_) return {};
    return outbox_->PutFrame(protocol::EncodeFrame(FrameType::kStdout, piece.bytes));
  }

  // False: it is over.
  bool Wait(int timeout) {
    bool room = outbox_->empty();
    bool full = !input_.empty();
    auto events = static_cast<short>((room ? 0 : POLLOUT) | (full ? 0 : POLLIN));
    std::array<pollfd, 3> fds{{
        {.fd = socket_, .events = events, .revents = 0},
        {.fd = room ? viewer_->more.get() : -1, .events = POLLIN, .revents = 0},
        {.fd = full ? terminal_.master() : -1, .events = POLLOUT, .revents = 0},
    }};
    int ready = poll(fds.data(), fds.size(), timeout);
    if (ready < 0) return errno == EINTR;
    if ((fds[0].revents & POLLIN) != 0) return ReceiveSome(socket_, parser_) && HandleInput();
    if ((fds[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) return false;
    if (fds[2].revents != 0) {
      Type();
      return HandleInput();
    }
    return true;
  }

  // Takes frames until the terminal takes no more. False: the client sent something wrong.
  bool HandleInput() {
    while (input_.empty()) {
      auto frame = parser_->Next();
      if (!frame) return false;
      if (!*frame) return true;
      if ((*frame)->type == FrameType::kStdin) {
        input_ = (*frame)->payload;
        Type();
      } else if ((*frame)->type == FrameType::kResizeTerminal) {
        auto size = protocol::Decode<protocol::ResizeTerminal>((*frame)->payload);
        if (!size || !terminal_.Resize(size->cols, size->rows)) return false;
      } else {
        return false;
      }
    }
    return true;
  }

  void Type() {
    while (typed_ < input_.size()) {
      ssize_t count = write(terminal_.master(), input_.data() + typed_, input_.size() - typed_);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0) break;  // nobody reads any more
      typed_ += static_cast<size_t>(count);
    }
    input_.clear();
    typed_ = 0;
  }

  Terminal& terminal_;
  Terminal::Viewer* viewer_;
  int socket_;
  protocol::FrameParser* parser_;
  Outbox* outbox_;
  bool with_usage_;
  uint64_t replay_end_;
  bool replayed_ = false;
  bool more_ = true;  // there may be something to say
  bool ended_ = false;
  std::string pending_;  // goes out behind a gap
  std::string input_;
  size_t typed_ = 0;
};

}  // namespace

Result<void> ShowTerminal(TerminalView* view, int socket, protocol::FrameParser* parser,
                          Outbox* outbox, bool with_usage) {
  return Session(view, socket, parser, outbox, with_usage).Run(view->created());
}

}  // namespace atl::agent
