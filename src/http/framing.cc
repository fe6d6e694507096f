// SPDX-License-Identifier: Apache-2.0
#include "http/framing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace atl::http {
namespace {

// RFC 9110, 5.6.2.
bool IsTokenChar(char c) {
  if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return kOthers.find(c) != std::string_view::npos;
}

bool IsToken(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, IsTokenChar);
}

bool IsFieldValueChar(char c) {
  auto byte = static_cast<unsigned char>(c);
  return c == '\t' || (byte >= 0x20 && byte != 0x7f);
}

bool IsTargetChar(char c) {
  auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != 0x7f;
}

// reg-name, IPv4 or [IPv6], with an optional port: no user information, no path.
bool IsHost(std::string_view host) {
  if (host.empty() || host.size() > 300) return false;
  // Behind the last colon outside of brackets stands a port.
  size_t bracket = host.rfind(']');
  size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    std::string_view port = host.substr(colon + 1);
    uint16_t number = 0;
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number == 0) return false;
    host = host.substr(0, colon);
    if (host.empty() || (bracket == std::string_view::npos && host.contains(':'))) return false;
  }
  return std::ranges::all_of(host, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '-' || c == '_' || c == ':' || c == '[' || c == ']' || c == '%' || c == '~';
  });
}

struct Failure {
  Code code = Code::kInvalidArgument;
  std::string_view reason = "BAD_REQUEST";
  Unexpected operator()(std::string message) const {
    return Fail(code, std::move(message), std::string(reason));
  }
};

constexpr Failure kBadRequest{.code = Code::kInvalidArgument, .reason = "BAD_REQUEST"};
constexpr Failure kBadResponse{.code = Code::kBadGateway, .reason = "BAD_UPSTREAM_RESPONSE"};

// Splits off one line that ends with CRLF. A bare CR or LF anywhere is refused.
Result<std::string_view> TakeLine(std::string_view& rest, const Failure& bad) {
  size_t end = rest.find('\n');
  if (end == std::string_view::npos || end == 0 || rest[end - 1] != '\r') {
    return bad("a line of the message head does not end with CR LF");
  }
  std::string_view line = rest.substr(0, end - 1);
  if (line.find('\r') != std::string_view::npos) return bad("the message head has a bare CR");
  rest.remove_prefix(end + 1);
  return line;
}

Result<Headers> ParseFields(std::string_view rest, const Failure& bad) {
  Headers headers;
  while (true) {
    ASSIGN(std::string_view line, TakeLine(rest, bad));
    if (line.empty()) break;
    if (line.front() == ' ' || line.front() == '\t') return bad("a header field is folded");
    size_t colon = line.find(':');
    if (colon == std::string_view::npos) return bad("a header field has no colon");
    std::string_view name = line.substr(0, colon);
    if (!IsToken(name)) return bad("a header field's name has characters that do not belong there");
    std::string_view value = Trim(line.substr(colon + 1));
    if (!std::ranges::all_of(value, IsFieldValueChar)) {
      return bad(fmt::format("the value of header field {} has control bytes", name));
    }
    if (headers.fields().size() >= kMaxHeaderCount) {
      return Fail(
          bad.code, fmt::format("more than {} header fields", kMaxHeaderCount),
          bad.code == Code::kInvalidArgument ? "HEADERS_TOO_LARGE" : std::string(bad.reason));
    }
    headers.Add(std::string(name), std::string(value));
  }
  if (!rest.empty()) return bad("bytes behind the end of the message head");
  return headers;
}

Result<uint64_t> ParseContentLength(const Headers& headers, const Failure& bad) {
  if (headers.Count("Content-Length") != 1) return bad("more than one Content-Length");
  std::string_view text = *headers.Get("Content-Length");
  uint64_t length = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  bool digits = std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || error != std::errc() || end != text.data() + text.size()) {
    return bad("Content-Length is not a number");
  }
  return length;
}

// True for exactly one `Transfer-Encoding: chunked`, false for none; anything else is refused,
// because two programs may read it differently.
Result<bool> ParseChunked(const Headers& headers, int minor_version, const Failure& bad) {
  size_t count = headers.Count("Transfer-Encoding");
  if (count == 0) return false;
  if (minor_version == 0) return bad("Transfer-Encoding in an HTTP/1.0 message");
  if (count > 1 || !EqualsIgnoreCase(*headers.Get("Transfer-Encoding"), "chunked")) {
    return bad("Transfer-Encoding is other than chunked");
  }
  if (headers.Has("Content-Length")) return bad("both Transfer-Encoding and Content-Length");
  return true;
}

Result<int> ParseVersion(std::string_view version, const Failure& bad) {
  if (version == "HTTP/1.1") return 1;
  if (version == "HTTP/1.0") return 0;
  return bad("the HTTP version is neither 1.1 nor 1.0");
}

bool KeepsAlive(const Headers& headers, int minor_version) {
  std::string connection = headers.Joined("Connection");
  if (ListContains(connection, "close")) return false;
  return minor_version == 1 || ListContains(connection, "keep-alive");
}

// Reduces an absolute-form target to origin-form; its authority must be the Host.
Result<void> NormalizeTarget(RequestHead& head) {
  std::string& target = head.target;
  if (target == "*") {
    if (head.method != "OPTIONS") return kBadRequest("the target * belongs to OPTIONS only");
    return {};
  }
  if (target.front() == '/') return {};
  constexpr std::string_view kScheme = "http://";
  if (!EqualsIgnoreCase(std::string_view(target).substr(0, kScheme.size()), kScheme)) {
    return kBadRequest("the request target does not begin with a slash");
  }
  std::string rest = target.substr(kScheme.size());
  size_t slash = rest.find_first_of("/?");
  if (!EqualsIgnoreCase(rest.substr(0, slash), head.host)) {
    return kBadRequest("the request target names another host than the Host field");
  }
  target = slash == std::string::npos ? "/" : rest.substr(slash);
  if (target.front() == '?') target.insert(0, "/");
  return {};
}

}  // namespace

size_t FindHeadEnd(std::string_view data) {
  // A bare LF LF also ends the search, so that such a head is refused at once and not waited for.
  size_t crlf = data.find("\r\n\r\n");
  size_t lf = data.find("\n\n");
  if (lf < crlf) return lf + 2;
  return crlf == std::string_view::npos ? 0 : crlf + 4;
}

Result<RequestHead> ParseRequestHead(std::string_view data) {
  const Failure& bad = kBadRequest;
  if (data.size() > kMaxHeadBytes) {
    return Fail(Code::kTooLarge, fmt::format("the request's head is above {} bytes", kMaxHeadBytes),
                "HEADERS_TOO_LARGE");
  }
  RequestHead head;
  ASSIGN(std::string_view line, TakeLine(data, bad));
  size_t first = line.find(' ');
  size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return bad("the request line is not METHOD TARGET VERSION");
  }
  head.method = line.substr(0, first);
  head.target = line.substr(first + 1, last - first - 1);
  if (!IsToken(head.method) || head.method.size() > 32) return bad("the method is not a token");
  if (head.target.empty() || !std::ranges::all_of(head.target, IsTargetChar)) {
    return bad("the request target has spaces or control bytes");
  }
  if (head.target.find('#') != std::string::npos) return bad("the request target has a fragment");
  ASSIGN(head.minor_version, ParseVersion(line.substr(last + 1), bad));
  if (head.method == "CONNECT") return bad("CONNECT is not served here");
  ASSIGN(head.headers, ParseFields(data, bad));
  if (head.headers.Count("Host") != 1) return bad("a request has exactly one Host field");
  head.host = *head.headers.Get("Host");
  if (!IsHost(head.host)) return bad("the Host field is not a host name");
  TRY(NormalizeTarget(head));
  ASSIGN(bool chunked, ParseChunked(head.headers, head.minor_version, bad));
  if (chunked) {
    head.framing = Framing::kChunked;
  } else if (head.headers.Has("Content-Length")) {
    ASSIGN(head.content_length, ParseContentLength(head.headers, bad));
    head.framing = head.content_length > 0 ? Framing::kLength : Framing::kNone;
  }
  head.keep_alive = KeepsAlive(head.headers, head.minor_version);
  return head;
}

Result<ResponseHead> ParseResponseHead(std::string_view data, std::string_view request_method) {
  const Failure& bad = kBadResponse;
  if (data.size() > kMaxHeadBytes) return bad("the response's head is too large");
  ResponseHead head;
  ASSIGN(std::string_view line, TakeLine(data, bad));
  if (line.size() < 12 || line[8] != ' ' || (line.size() > 12 && line[12] != ' ')) {
    return bad("the status line is not VERSION STATUS REASON");
  }
  ASSIGN(head.minor_version, ParseVersion(line.substr(0, 8), bad));
  std::string_view status = line.substr(9, 3);
  auto [end, error] = std::from_chars(status.data(), status.data() + 3, head.status);
  if (error != std::errc() || end != status.data() + 3 || head.status < 100) {
    return bad("the status is not a number from 100 to 999");
  }
  if (line.size() > 13) head.reason = line.substr(13);
  if (!std::ranges::all_of(head.reason, IsFieldValueChar))
    return bad("the reason has control bytes");
  ASSIGN(head.headers, ParseFields(data, bad));
  ASSIGN(bool chunked, ParseChunked(head.headers, head.minor_version, bad));
  bool has_length = head.headers.Has("Content-Length");
  if (has_length) {
    ASSIGN(head.content_length, ParseContentLength(head.headers, bad));
  }
  bool bodiless =
      request_method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304;
  if (bodiless) {
    head.framing = Framing::kNone;
  } else if (chunked) {
    head.framing = Framing::kChunked;
  } else if (has_length) {
    head.framing = head.content_length > 0 ? Framing::kLength : Framing::kNone;
  } else {
    head.framing = Framing::kUntilClose;
  }
  head.keep_alive =
      KeepsAlive(head.headers, head.minor_version) && head.framing != Framing::kUntilClose;
  return head;
}

namespace {
constexpr size_t kMaxChunkLine = 1024;
constexpr size_t kMaxTrailerBytes = 16UL * 1024;
}  // namespace

// Appends to line_ up to a line feed; returns how much of `input` that took.
Result<size_t> ChunkedDecoder::TakeLine(std::string_view input, bool& complete) {
  size_t end = input.find('\n');
  complete = end != std::string_view::npos;
  size_t taken = complete ? end + 1 : input.size();
  line_.append(input.substr(0, taken));
  if (line_.size() > kMaxChunkLine) {
    return Fail(Code::kInvalidArgument, "a line of a chunked body is too long", "BAD_REQUEST");
  }
  if (!complete) return taken;
  if (line_.size() < 2 || line_[line_.size() - 2] != '\r') {
    return Fail(Code::kInvalidArgument, "a line of a chunked body does not end with CR LF",
                "BAD_REQUEST");
  }
  line_.resize(line_.size() - 2);
  return taken;
}

Result<void> ChunkedDecoder::BeginChunk() {
  std::string_view size = std::string_view(line_).substr(0, line_.find(';'));
  size = Trim(size);
  left_ = 0;
  auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), left_, 16);
  bool plain = !size.empty() && size.size() <= 15 && error == std::errc() &&
               end == size.data() + size.size();
  bool clean = std::ranges::all_of(line_, IsFieldValueChar);
  if (!plain || !clean) {
    return Fail(Code::kInvalidArgument, "a chunk size is not a hexadecimal number", "BAD_REQUEST");
  }
  line_.clear();
  state_ = left_ == 0 ? State::kTrailer : State::kData;
  return {};
}

Result<ChunkedDecoder::Step> ChunkedDecoder::Decode(std::string_view input) {
  Step step;
  while (step.consumed < input.size() && state_ != State::kDone) {
    std::string_view rest = input.substr(step.consumed);
    bool complete = false;
    switch (state_) {
      case State::kSize: {
        ASSIGN(size_t taken, TakeLine(rest, complete));
        step.consumed += taken;
        if (complete) TRY(BeginChunk());
        break;
      }
      case State::kData: {
        step.data = rest.substr(0, static_cast<size_t>(std::min<uint64_t>(left_, rest.size())));
        step.consumed += step.data.size();
        left_ -= step.data.size();
        if (left_ == 0) state_ = State::kDataEnd;
        return step;
      }
      case State::kDataEnd: {
        ASSIGN(size_t taken, TakeLine(rest, complete));
        step.consumed += taken;
        if (!complete) break;
        if (!line_.empty()) {
          return Fail(Code::kInvalidArgument, "a chunk is longer than its size", "BAD_REQUEST");
        }
        state_ = State::kSize;
        break;
      }
      case State::kTrailer: {
        ASSIGN(size_t taken, TakeLine(rest, complete));
        step.consumed += taken;
        trailer_bytes_ += taken;
        if (trailer_bytes_ > kMaxTrailerBytes) {
          return Fail(Code::kInvalidArgument, "the trailer is too long", "BAD_REQUEST");
        }
        if (complete && line_.empty()) state_ = State::kDone;
        if (complete) line_.clear();
        break;
      }
      case State::kDone:
        break;
    }
  }
  return step;
}

}  // namespace atl::http
