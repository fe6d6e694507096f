// SPDX-License-Identifier: Apache-2.0
// The routes of the bare domain, as tables: what is routed is what /v1/openapi.json describes.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/seed/actions.h"
#include "api/v1/shape.h"
#include "async/task.h"
#include "http/server.h"

namespace atl::api {

// What a field of a body or a parameter of a query may be.
enum class Kind : uint8_t {
  kText,      // a string without NUL
  kPath,      // the same; in a query it need not be UTF-8, as names of files need not
  kInteger,   // within [min, max]
  kNumber,    // within [min, max]
  kBoolean,   //
  kTextMap,   // an object of strings without NUL; in a query as JSON
  kTextList,  // an array of strings without NUL
  kObject,    // described by its own words
  kBytes,     // a number of bytes, or text as "512M"
  kAny,       // described by its own words
};

struct Field {
  std::string_view name;
  Kind kind = Kind::kText;
  std::string_view about;
  bool required = false;
  double min = std::numeric_limits<double>::lowest();
  double max = std::numeric_limits<double>::max();
  std::span<const std::string_view> choices;  // of a text that is one of them; empty: any
};

inline constexpr Field kLastEventId[] = {
    {.name = "Last-Event-ID",
     .kind = Kind::kInteger,
     .about = "The id of the last event that came: it goes on behind it.",
     .min = 0}};

// What a request carries or an answer is.
enum class Media : uint8_t {
  kNone,       // nothing: an answer is 204
  kJson,       // an object
  kEvents,     // server-sent events, or what it returns when they are not asked for
  kOctets,     // bytes as they are
  kText,       //
  kWebSocket,  // 101
};

// The parts of the path that stand in braces, in order, percent-decoded, without NUL and not empty.
// "{id}" is a valid id of a sandbox. "{name...}", at the end, is the rest with its slashes.
using Values = std::vector<std::string>;
using RouteHandler = async::Task<> (*)(const Services& services, Values values,
                                       http::Exchange& exchange);

// How a dialect tells of a failure.
struct ErrorStyle {
  const Shape* shape = nullptr;
  async::Task<> (*respond)(http::Exchange& exchange, Error error) = nullptr;
  // This path, and what is below it, is the dialect's, whether a route has it or not. Empty: none.
  std::string_view below;
  // There: 405 with the methods that are allowed.
  async::Task<> (*refuse_method)(http::Exchange& exchange, std::string allow) = nullptr;
};
// The reason of an error about a path of a dialect that no route has.
inline constexpr std::string_view kNoRoute = "NO_ROUTE";

struct Route {
  std::string_view method;  // GET answers HEAD too
  std::string_view pattern;
  std::string_view operation;  // a name for clients: "createSandbox"
  std::string_view summary;    // one sentence
  RouteHandler handler = nullptr;
  Media answer = Media::kJson;
  const Shape* returns = nullptr;           // in JSON; null: it answers none
  const Shape* streams = nullptr;           // each event that is an object
  std::span<const std::string_view> media;  // of bytes, where they are not just any
  std::span<const Field> answer_headers;
  Media body = Media::kNone;
  std::span<const Field> fields;       // of a JSON body; all are optional but those that say so
  std::span<const Field> query;        // checked before the handler runs
  std::span<const Field> headers;      // of the request
  std::span<const int> statuses;       // of success, besides the usual one
  const ErrorStyle* errors = nullptr;  // null: the API's own
};

// A handler for what asks for the sandbox alone.
template <async::Task<> (*F)(const Services&, std::string, http::Exchange&)>
async::Task<> OfSandbox(const Services& services, Values values, http::Exchange& exchange) {
  return F(services, std::move(values.at(0)), exchange);
}

class RouteTable {
 public:
  RouteTable(std::initializer_list<std::span<const Route>> parts);

  struct Match {
    const Route* route = nullptr;  // null: nothing is there for this method
    Values values;
    std::string allow;  // the methods that the path has, when this is not one of them
  };
  // kInvalidArgument for a path that a route has, with a value that it cannot have.
  Result<Match> Find(std::string_view method, std::string_view path) const;

  // Of the dialect whose path it is; null: the API's own.
  const ErrorStyle* StyleOf(std::string_view path) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

// 200 with a JSON text, or the error.
async::Task<> RespondResult(http::Exchange& exchange, Result<std::string> json);

// Whether every parameter that a route has is of its kind and there at most once; others are for
// newer servers. VALIDATION_FAILED.
Result<void> CheckQuery(std::span<const Field> fields, std::string_view query);

// Whether the header fields that a route has are of their kind; an empty one counts as none.
// VALIDATION_FAILED.
Result<void> CheckHeaders(std::span<const Field> fields, const http::Headers& headers);

// Whether a body, an object of JSON, has no other fields than these: who misspells one is told.
// VALIDATION_FAILED.
Result<void> CheckNames(std::span<const Field> fields, std::string_view body);

// The Idempotency-Key, or "" when there is none. VALIDATION_FAILED.
Result<std::string> IdempotencyKey(const http::RequestHead& request);

// The value of a parameter of the query, or "".
std::string Query(const http::RequestHead& request, std::string_view name);
// A parameter that is a number from 1 to `most`.
Result<uint64_t> QueryNumber(const http::RequestHead& request, std::string_view name,
                             uint64_t fallback, uint64_t most);

}  // namespace atl::api
