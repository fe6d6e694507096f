// SPDX-License-Identifier: Apache-2.0
#include "egress/dns_message.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace atl::egress::dns {
namespace {

constexpr size_t kHeader = 12;
constexpr size_t kMaxName = 255;
constexpr int kMaxPointers = 64;
constexpr uint16_t kIsAnswer = 0x8000;
constexpr uint16_t kOpcodeMask = 0x7800;
constexpr uint16_t kTruncated = 0x0200;
constexpr uint16_t kRecursionDesired = 0x0100;
constexpr uint16_t kRecursionAvailable = 0x0080;
constexpr uint32_t kLocalTtl = 60;

Unexpected Malformed(std::string_view what) {
  return Fail(Code::kInvalidArgument, fmt::format("malformed DNS message: {}", what));
}

// Reads big-endian numbers and names at a moving offset. Offsets never leave the message.
class Reader {
 public:
  explicit Reader(std::string_view message) : message_(message) {}

  size_t offset() const { return offset_; }
  size_t left() const { return message_.size() - offset_; }

  Result<uint16_t> U16() {
    if (left() < 2) return Malformed("it ends early");
    auto high = static_cast<unsigned char>(message_[offset_]);
    auto low = static_cast<unsigned char>(message_[offset_ + 1]);
    offset_ += 2;
    return static_cast<uint16_t>((high << 8U) | low);
  }
  Result<uint32_t> U32() {
    ASSIGN(uint16_t high, U16());
    ASSIGN(uint16_t low, U16());
    return (static_cast<uint32_t>(high) << 16U) | low;
  }
  Result<void> Skip(size_t n) {
    if (left() < n) return Malformed("it ends early");
    offset_ += n;
    return {};
  }
  // `text` may be null when nobody wants it.
  Result<void> Name(bool pointers_allowed, std::string* text);

 private:
  std::string_view message_;
  size_t offset_ = 0;
};

void AppendLabel(std::string_view label, std::string& text) {
  if (!text.empty()) text += '.';
  for (char c : label) {
    if (c >= 'A' && c <= 'Z') {
      text += static_cast<char>(c - 'A' + 'a');
    } else if (c > ' ' && c < 0x7f && c != '.' && c != '\\') {
      text += c;
    } else {
      text += fmt::format("\\{:03}", static_cast<unsigned char>(c));
    }
  }
}

Result<void> Reader::Name(bool pointers_allowed, std::string* text) {
  size_t at = offset_;
  size_t begin = offset_;        // of the part being read: pointers must lead before it
  size_t end = message_.size();  // what a pointer leads to must have ended where its own part began
  size_t length = 1;
  bool jumped = false;
  int pointers = 0;
  while (true) {
    if (at >= end) return Malformed("a name ends early");
    auto size = static_cast<unsigned char>(message_[at]);
    if (size >= 0xC0) {
      if (!pointers_allowed) return Malformed("a compressed name where none may be");
      if (at + 1 >= end) return Malformed("a name ends early");
      size_t target = ((size & 0x3FU) << 8U) | static_cast<unsigned char>(message_[at + 1]);
      if (target >= begin || target < kHeader || ++pointers > kMaxPointers) {
        return Malformed("a name's pointer leads nowhere");
      }
      if (!jumped) offset_ = at + 2;
      jumped = true;
      end = begin;
      at = begin = target;
      continue;
    }
    if (size > 63) return Malformed("a label of unknown kind");
    length += size + 1U;
    if (length > kMaxName) return Malformed("a name is too long");
    if (size == 0) break;
    if (end - at <= size) return Malformed("a name ends early");
    if (text != nullptr) AppendLabel(message_.substr(at + 1, size), *text);
    at += size + 1U;
  }
  if (!jumped) offset_ = at + 1;
  return {};
}

struct Header {
  uint16_t id = 0;
  uint16_t flags = 0;
  std::array<uint16_t, 4> counts{};
};

Result<Header> ReadHeader(Reader& reader) {
  Header header;
  ASSIGN(header.id, reader.U16());
  ASSIGN(header.flags, reader.U16());
  for (uint16_t& count : header.counts) {
    ASSIGN(count, reader.U16());
  }
  return header;
}

Result<Question> ReadQuestion(std::string_view message, Reader& reader) {
  Question question;
  size_t begin = reader.offset();
  TRY(reader.Name(false, &question.name));
  ASSIGN(question.type, reader.U16());
  ASSIGN(question.klass, reader.U16());
  question.wire = message.substr(begin, reader.offset() - begin);
  return question;
}

struct Record {
  uint16_t type = 0;
  uint16_t klass = 0;
  size_t data_offset = 0;
  size_t data_size = 0;
};

Result<Record> ReadRecord(Reader& reader) {
  Record record;
  TRY(reader.Name(true, nullptr));
  ASSIGN(record.type, reader.U16());
  ASSIGN(record.klass, reader.U16());
  TRY(reader.U32());  // the time to live
  ASSIGN(record.data_size, reader.U16());
  record.data_offset = reader.offset();
  TRY(reader.Skip(record.data_size));
  return record;
}

void Append16(std::string& out, unsigned value) {
  out += static_cast<char>((value >> 8U) & 255U);
  out += static_cast<char>(value & 255U);
}

void Append32(std::string& out, uint32_t value) {
  Append16(out, value >> 16U);
  Append16(out, value & 0xFFFFU);
}

void AppendHeader(std::string& out, unsigned id, unsigned flags, unsigned questions,
                  unsigned answers, unsigned additional) {
  Append16(out, id);
  Append16(out, flags);
  Append16(out, questions);
  Append16(out, answers);
  Append16(out, 0);
  Append16(out, additional);
}

void AppendOpt(std::string& out) {
  out += '\0';
  Append16(out, kOpt);
  Append16(out, kUdpPayload);
  Append32(out, 0);
  Append16(out, 0);
}

unsigned ReplyFlags(const Query& query, unsigned rcode) {
  return kIsAnswer | (query.flags & kRecursionDesired) | kRecursionAvailable | rcode;
}

}  // namespace

Result<Query> ParseQuery(std::string_view message) {
  if (message.size() > kMaxMessage) return Malformed("it is too long");
  Reader reader(message);
  ASSIGN(Header header, ReadHeader(reader));
  if ((header.flags & kIsAnswer) != 0) return Malformed("an answer, not a query");
  if ((header.flags & kOpcodeMask) != 0) {
    return Fail(Code::kFailedPrecondition, "a DNS operation other than a query");
  }
  // At most one OPT and one signature make sense behind the question.
  if (header.counts[0] != 1 || header.counts[1] != 0 || header.counts[2] != 0 ||
      header.counts[3] > 2) {
    return Malformed("a query of odd sections");
  }
  Query query{.id = header.id, .flags = header.flags};
  ASSIGN(query.question, ReadQuestion(message, reader));
  for (int i = 0; i < header.counts[3]; ++i) {
    ASSIGN(Record record, ReadRecord(reader));
    if (record.type != kOpt) continue;
    if (query.edns) return Malformed("two OPT records");
    query.edns = true;
    query.udp_size = std::max<size_t>(512, std::min<size_t>(record.klass, 4096));
  }
  return query;
}

Result<Answer> ParseAnswer(std::string_view message) {
  if (message.size() > kMaxMessage) return Malformed("it is too long");
  Reader reader(message);
  ASSIGN(Header header, ReadHeader(reader));
  if ((header.flags & kIsAnswer) == 0) return Malformed("a query, not an answer");
  Answer answer{.id = header.id,
                .rcode = static_cast<uint8_t>(header.flags & 15U),
                .truncated = (header.flags & kTruncated) != 0,
                .record_count = header.counts[1]};
  // Who does not understand a query need not repeat its question.
  if (header.counts[0] == 0 && answer.rcode == kFormatError && answer.record_count == 0) {
    return answer;
  }
  if (header.counts[0] != 1) return Malformed("an answer without one question");
  ASSIGN(answer.question, ReadQuestion(message, reader));
  // Where a server cut its answer, the counts need not hold.
  if (answer.truncated) return answer;
  for (int i = 0; i < answer.record_count; ++i) {
    ASSIGN(Record record, ReadRecord(reader));
    if (record.type != kA || record.klass != kInternet) continue;
    if (record.data_size != 4) return Malformed("an address of odd length");
    Reader data(message);
    TRY(data.Skip(record.data_offset));
    ASSIGN(uint32_t address, data.U32());
    answer.addresses.push_back(address);
  }
  answer.records_end = reader.offset();
  return answer;
}

bool SameQuestion(const Question& a, const Question& b) {
  return a.type == b.type && a.klass == b.klass && a.wire.size() == b.wire.size() &&
         a.name == b.name;
}

std::string BuildQuery(uint16_t id, const Question& question, bool edns) {
  std::string out;
  AppendHeader(out, id, kRecursionDesired, 1, 0, edns ? 1 : 0);
  out += question.wire;
  if (edns) AppendOpt(out);
  return out;
}

std::string BuildReply(const Query& query, Rcode rcode, const std::vector<uint32_t>& addresses) {
  std::string out;
  AppendHeader(out, query.id, ReplyFlags(query, rcode), 1, static_cast<unsigned>(addresses.size()),
               query.edns ? 1 : 0);
  out += query.question.wire;
  for (uint32_t address : addresses) {
    Append16(out, 0xC000U | kHeader);  // the question's name
    Append16(out, kA);
    Append16(out, kInternet);
    Append32(out, kLocalTtl);
    Append16(out, 4);
    Append32(out, address);
  }
  if (query.edns) AppendOpt(out);
  return out;
}

std::string BuildForwarded(const Query& query, std::string_view message, const Answer& answer) {
  std::string out;
  AppendHeader(out, query.id, ReplyFlags(query, answer.rcode), 1, answer.record_count,
               query.edns ? 1 : 0);
  out += query.question.wire;  // as long as the upstream's: pointers into it still fit
  out += message.substr(out.size(), answer.records_end - out.size());
  if (query.edns) AppendOpt(out);
  return out;
}

std::string BuildTruncated(const Query& query) {
  std::string out;
  AppendHeader(out, query.id, ReplyFlags(query, kNoError) | kTruncated, 1, 0, query.edns ? 1 : 0);
  out += query.question.wire;
  if (query.edns) AppendOpt(out);
  return out;
}

std::optional<std::string> BuildRejection(std::string_view message, Rcode rcode) {
  Reader reader(message);
  Result<Header> header = ReadHeader(reader);
  if (!header || (header->flags & kIsAnswer) != 0) return std::nullopt;
  std::string out;
  unsigned kept = header->flags & (kOpcodeMask | kRecursionDesired);
  AppendHeader(out, header->id, kIsAnswer | kept | kRecursionAvailable | rcode, 0, 0, 0);
  return out;
}

std::optional<uint32_t> ReverseAddress(std::string_view name) {
  constexpr std::string_view kSuffix = ".in-addr.arpa";
  if (!name.ends_with(kSuffix)) return std::nullopt;
  name.remove_suffix(kSuffix.size());
  uint32_t address = 0;
  for (unsigned i = 0; i < 4; ++i) {
    unsigned value = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), value);
    if (error != std::errc() || value > 255) return std::nullopt;
    address |= value << (8 * i);
    name.remove_prefix(static_cast<size_t>(end - name.data()));
    if (i == 3) return name.empty() ? std::optional(address) : std::nullopt;
    if (!name.starts_with('.')) return std::nullopt;
    name.remove_prefix(1);
  }
  return std::nullopt;
}

}  // namespace atl::egress::dns
