// SPDX-License-Identifier: Apache-2.0
#include "sandbox/event_log.h"

#include <algorithm>

#include "base/clock.h"

namespace atl::sandbox {
namespace {

constexpr size_t kMaxDetail = 1000;

// A cut inside a character would not be UTF-8 any more.
std::string_view Bounded(std::string_view text) {
  if (text.size() <= kMaxDetail) return text;
  size_t end = kMaxDetail;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return text.substr(0, end);
}

Result<std::vector<Event>> ReadAll(db::Statement& statement) {
  std::vector<Event> events;
  while (true) {
    ASSIGN(bool more, statement.Step());
    if (!more) return events;
    events.push_back({.seq = statement.Int(0),
                      .at_ms = statement.Int(1),
                      .iid = std::string(statement.Text(2)),
                      .id = std::string(statement.Text(3)),
                      .kind = std::string(statement.Text(4)),
                      .state = std::string(statement.Text(5)),
                      .detail = std::string(statement.Text(6))});
  }
}

}  // namespace

Result<void> EventLog::Add(db::Transaction& transaction, const std::string& iid,
                           const std::string& id, std::string_view kind, std::string_view state,
                           std::string_view detail) {
  return transaction.Execute(
      "INSERT INTO events (at_ms, iid, id, kind, state, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
      NowMs(), iid, id, kind, state, Bounded(detail));
}

Result<void> EventLog::Append(const std::string& iid, const std::string& id, std::string_view kind,
                              std::string_view detail) {
  return Append({{.iid = iid,
                  .id = id,
                  .kind = std::string(kind),
                  .state = {},
                  .detail = std::string(detail)}});
}

Result<void> EventLog::Append(const std::vector<Event>& events) {
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    for (const Event& one : events) {
      TRY(Add(transaction, one.iid, one.id, one.kind, "", one.detail));
    }
    TRY(transaction.Commit());
  }
  Notify();
  return {};
}

Result<std::vector<Event>> EventLog::After(const std::string& id, int64_t seq, size_t limit) const {
  ASSIGN(db::Transaction transaction, database_.Begin());
  ASSIGN(db::Statement statement,
         transaction.Prepare("SELECT seq, at_ms, iid, id, kind, state, detail FROM events "
                             "WHERE id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"));
  TRY(statement.Bind(id, seq, static_cast<int64_t>(limit)));
  return ReadAll(statement);
}

Result<std::vector<Event>> EventLog::Last(const std::string& id, size_t limit) const {
  ASSIGN(db::Transaction transaction, database_.Begin());
  ASSIGN(db::Statement statement,
         transaction.Prepare("SELECT seq, at_ms, iid, id, kind, state, detail FROM events "
                             "WHERE id = ?1 ORDER BY seq DESC LIMIT ?2"));
  TRY(statement.Bind(id, static_cast<int64_t>(limit)));
  ASSIGN(std::vector<Event> events, ReadAll(statement));
  std::ranges::reverse(events);
  return events;
}

Result<void> EventLog::Prune(int64_t before_ms, int64_t keep) const {
  ASSIGN(db::Transaction transaction, database_.Begin());
  TRY(
      transaction.Execute("DELETE FROM events WHERE at_ms < ?1 OR seq <= "
                          "(SELECT max(seq) FROM events) - ?2",
                          before_ms, keep));
  return transaction.Commit();
}

std::shared_ptr<async::Event> EventLog::Next() {
  std::lock_guard guard(mutex_);
  if (!next_) next_ = std::make_shared<async::Event>();
  return next_;
}

void EventLog::Notify() {
  std::shared_ptr<async::Event> waiting;
  {
    std::lock_guard guard(mutex_);
    waiting = std::move(next_);
    next_.reset();
  }
  if (waiting) waiting->Set();
}

}  // namespace atl::sandbox
