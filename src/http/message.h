// SPDX-License-Identifier: Apache-2.0
// What an HTTP/1.1 message head is made of. Field names keep their case and are compared without
// it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace atl::http {

// Compares ASCII letters without their case.
bool EqualsIgnoreCase(std::string_view a, std::string_view b);
// Is `token` one of the comma-separated values of `list` (without case)?
bool ListContains(std::string_view list, std::string_view token);
std::string_view Trim(std::string_view text);

class Headers {
 public:
  using Field = std::pair<std::string, std::string>;

  // The first field of this name.
  std::optional<std::string_view> Get(std::string_view name) const;
  bool Has(std::string_view name) const { return Get(name).has_value(); }
  size_t Count(std::string_view name) const;
  // All values of this name, joined with ", ".
  std::string Joined(std::string_view name) const;
  void Add(std::string name, std::string value);
  // Replaces all fields of this name by one.
  void Set(std::string name, std::string value);
  void Remove(std::string_view name);
  template <class Predicate>
  void RemoveIf(Predicate predicate) {
    std::erase_if(fields_, predicate);
  }
  const std::vector<Field>& fields() const { return fields_; }
  std::vector<Field>& fields() { return fields_; }

 private:
  std::vector<Field> fields_;
};

// How the end of a body is known (RFC 9112, 6.3).
enum class Framing { kNone, kLength, kChunked, kUntilClose };

struct RequestHead {
  std::string method;
  std::string target;  // origin-form ("/a?b"), or "*" for OPTIONS; absolute-form is reduced to it
  int minor_version = 1;
  std::string host;  // as sent, with its port
  Headers headers;
  Framing framing = Framing::kNone;
  uint64_t content_length = 0;
  bool keep_alive = true;

  std::string_view path() const;   // target up to '?'
  std::string_view query() const;  // behind '?', or empty
};

struct ResponseHead {
  int status = 200;
  std::string reason;  // empty: the standard one
  Headers headers;
  // Filled by the parser of upstream responses.
  int minor_version = 1;
  Framing framing = Framing::kNone;
  uint64_t content_length = 0;
  bool keep_alive = true;
};

std::string_view StandardReason(int status);

// Serialises with the framing fields (Content-Length, Transfer-Encoding, Connection) exactly as
// they stand in `headers`.
std::string Serialize(const RequestHead& head);
std::string Serialize(const ResponseHead& head);

// Percent-decodes; nullopt for a malformed escape or an encoded NUL.
std::optional<std::string> PercentDecode(std::string_view text);

// The value of a query parameter, percent-decoded.
std::optional<std::string> QueryParameter(std::string_view query, std::string_view name);

}  // namespace atl::http
