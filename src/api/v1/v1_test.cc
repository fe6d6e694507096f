// SPDX-License-Identifier: Apache-2.0
#include "api/v1/v1.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <utility>

#include "api/v1/assets.h"

namespace atl::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

async::Task<> Nothing(const Services& /*services*/, Values /*values*/,
                      http::Exchange& /*exchange*/) {
  co_return;
}

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/a/{id}/files/{path...}",
     .operation = "read",
     .handler = Nothing},
    {.method = "GET", .pattern = "/v1/a/{id}/{name}", .operation = "named", .handler = Nothing},
    {.method = "POST", .pattern = "/v1/a/{id}/run", .operation = "run", .handler = Nothing},
    {.method = "GET", .pattern = "/v1/a", .operation = "list", .handler = Nothing},
};

std::string Operation(const RouteTable& table, std::string_view method, std::string_view path) {
  Result<RouteTable::Match> match = table.Find(method, path);
  if (!match) return std::string(ReasonOf(match.error()));
  return match->route == nullptr ? "allow: " + match->allow : std::string(match->route->operation);
}

TEST(RouteTableTest, FindsByMethodAndPath) {
  RouteTable table({kRoutes});
  EXPECT_EQ(Operation(table, "GET", "/v1/a"), "list");
  EXPECT_EQ(Operation(table, "HEAD", "/v1/a"), "list");
  EXPECT_EQ(Operation(table, "POST", "/v1/a"), "allow: GET, HEAD");
  EXPECT_EQ(Operation(table, "POST", "/v1/a/demo/run"), "run");
  EXPECT_EQ(Operation(table, "GET", "/v1/a/demo/run"), "named");
  EXPECT_EQ(Operation(table, "PUT", "/v1/a/demo/run"), "allow: POST, GET, HEAD");
  for (const char* path : {"/v1/a/", "/v1", "/", "", "*", "/v1/a/demo", "/v1/a//run",
                           "/v1/a/demo/run/", "/v1/a/demo/files/"}) {
    EXPECT_EQ(Operation(table, "GET", path), "allow: ") << path;
  }
}

TEST(RouteTableTest, DecodesAndChecksValues) {
  RouteTable table({kRoutes});
  Result<RouteTable::Match> match = table.Find("GET", "/v1/a/demo/files/x%2Fy/%C3%A4%20z//w");
  ASSERT_TRUE(match.has_value());
  EXPECT_THAT(match->values, ElementsAre("demo", "x/y/ä z//w"));
  EXPECT_EQ(Operation(table, "GET", "/v1/a/Demo/x"), "INVALID_SANDBOX_ID");
  for (const char* path :
       {"/v1/a/demo/%00", "/v1/a/demo/%", "/v1/a/demo/%ff", "/v1/a/demo/files/%"}) {
    EXPECT_EQ(Operation(table, "GET", path), "VALIDATION_FAILED") << path;
  }
}

constexpr std::string_view kColors[] = {"red", "blue"};
constexpr Field kFields[] = {
    {.name = "user"},
    {.name = "dir", .kind = Kind::kPath},
    {.name = "deep", .kind = Kind::kBoolean},
    {.name = "count", .kind = Kind::kInteger, .min = 0, .max = 10},
    {.name = "after", .kind = Kind::kInteger, .min = 0},
    {.name = "share", .kind = Kind::kNumber, .min = 0.5, .max = 1},
    {.name = "color", .choices = kColors},
};
constexpr Field kRequired[] = {{.name = "to", .required = true}};

TEST(QueryTest, WhatIsOfItsKindIsTaken) {
  for (const char* query :
       {"", "&", "user=", "user=a%20b+c%C3%A4", "deep", "deep=", "deep=1", "deep=false&user=x",
        "count=0", "count=10", "count=", "after=9223372036854775807", "share=0.75", "color=blue",
        "color", "new=%zz&deep=true", "us%65r=%zz", "dir=%ff"}) {
    EXPECT_TRUE(CheckQuery(kFields, query)) << query;
  }
  EXPECT_TRUE(CheckQuery(kRequired, "to=x"));
  EXPECT_TRUE(CheckQuery({}, "to=%zz"));
}

TEST(QueryTest, WhatIsNotIsRefusedByName) {
  for (const auto& [query, name] : std::initializer_list<std::pair<const char*, const char*>>{
           {"dir=%00", "dir"},
           {"user=%zz", "user"},
           {"user=%00", "user"},
           {"a=b&user=%ff", "user"},
           {"user=x%", "user"},
           {"user=a&user=a", "user"},
           {"deep=no", "deep"},
           {"deep=TRUE", "deep"},
           {"deep=2", "deep"},
           {"deep=%20", "deep"},
           {"deep&deep=0", "deep"},
           {"count=11", "count"},
           {"count=-1", "count"},
           {"count=1.0", "count"},
           {"count=0x1", "count"},
           {"count=+1", "count"},
           {"count=1%20", "count"},
           {"after=1e3", "after"},
           {"after=9223372036854775808", "after"},
           {"after=-1", "after"},
           {"share=0.4", "share"},
           {"share=nan", "share"},
           {"share=x", "share"},
           {"color=green", "color"},
           {"color=red,blue", "color"},
       }) {
    Result<void> checked = CheckQuery(kFields, query);
    ASSERT_FALSE(checked) << query;
    EXPECT_EQ(ReasonOf(checked.error()), "VALIDATION_FAILED");
    EXPECT_THAT(checked.error().message, HasSubstr("\"" + std::string(name) + "\"")) << query;
  }
  EXPECT_FALSE(CheckQuery(kRequired, "from=x"));
}

TEST(FieldNamesTest, WhatIsNoneIsRefusedWithWhatIsMeant) {
  for (const char* body :
       {"", "{}", R"({"user":"x","count":1})", R"({"color":{"usr":1},"dir":["x"]})",
        R"({"user":"a\"b","share":1})", R"({"\u0075ser":"x"})", "[", R"({"user)"}) {
    EXPECT_TRUE(CheckNames(kFields, body)) << body;
  }
  for (const auto& [body, hint] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"usr":"x"})", "did you mean \"user\"?"},
           {R"({"user":"x", "Colour" : 1})", "did you mean \"color\"?"},
           {R"({"COUNT":1})", "did you mean \"count\"?"},
           {R"({"user":{"a":[{"b":"}"}]},"deeper":1})", "did you mean \"deep\"?"},
           {R"({"nothing like it":1})", "the fields are \"user\", \"dir\""},
           {R"({"":1})", "the fields are"},
       }) {
    Result<void> checked = CheckNames(kFields, body);
    ASSERT_FALSE(checked) << body;
    EXPECT_EQ(ReasonOf(checked.error()), "VALIDATION_FAILED");
    EXPECT_THAT(checked.error().message, HasSubstr(hint)) << body;
  }
}

TEST(RouteTableTest, OfTheApiHasNothingTwice) {
  RouteTable table = AllRoutes();
  std::set<std::string> operations;
  std::set<std::pair<std::string_view, std::string_view>> places;
  for (const Route& route : table.routes()) {
    EXPECT_TRUE(operations.emplace(route.operation).second) << route.operation;
    EXPECT_TRUE(places.emplace(route.method, route.pattern).second) << route.pattern;
    EXPECT_NE(route.handler, nullptr) << route.pattern;
    EXPECT_TRUE(route.summary.ends_with('.')) << route.operation;
  }
}

TEST(RouteTableTest, OfTheApiSaysWhatEveryAnswerIs) {
  RouteTable table = AllRoutes();
  std::map<std::string_view, const Shape*> named;
  for (const Route& route : table.routes()) {
    bool told = route.returns != nullptr || route.streams != nullptr;
    bool object = route.answer == Media::kJson || route.answer == Media::kEvents;
    EXPECT_TRUE(told || !object) << route.operation;
    for (const Shape* shape : {route.returns, route.streams}) {
      if (shape != nullptr) AddNamedShapes(*shape, named);
    }
  }
  // A name is that of one shape.
  for (const Route& route : table.routes()) {
    for (const Shape* shape : {route.returns, route.streams}) {
      if (shape == nullptr || shape->name.empty()) continue;
      EXPECT_EQ(named.at(shape->name)->members, shape->members) << shape->name;
    }
  }
}

constexpr std::string_view kKinds[] = {"a", "b"};
constexpr Member kBaseMembers[] = {{"size", kInteger, {}}};
constexpr Shape kBase = ObjectOf("Base", kBaseMembers);
constexpr Shape kBases = ListOf(kBase);
constexpr Member kThingMembers[] = {
    {"kind?", OrNull(Words(kKinds)), "Which."}, {"parts", kBases, {}}, {"main", OrNull(kBase), {}}};
constexpr Shape kThing = ObjectOf("Thing", kThingMembers, &kBase);

TEST(ShapeTest, IsASchema) {
  json::Writer writer;
  WriteNamedShape(writer, kThing);
  EXPECT_EQ(writer.Take(),
            R"({"type":"object","properties":{)"
            R"("kind":{"type":["string","null"],"enum":["a","b",null],"description":"Which."},)"
            R"("parts":{"type":"array","items":{"$ref":"#/components/schemas/Base"}},)"
            R"("main":{"anyOf":[{"$ref":"#/components/schemas/Base"},{"type":"null"}]},)"
            R"("size":{"type":"integer"}},"required":["parts","main","size"]})");
  std::map<std::string_view, const Shape*> named;
  AddNamedShapes(kThing, named);
  ASSERT_EQ(named.size(), 2U);
  EXPECT_EQ(named.at("Base")->members, kBase.members);
}

TEST(AssetsTest, ThePageIsAtTheRootAndNothingElseIsServed) {
  if (Assets().empty()) GTEST_SKIP() << "built without web/";
  const Asset* page = FindAsset("/");
  ASSERT_NE(page, nullptr);
  EXPECT_EQ(page, FindAsset("/index.html"));
  EXPECT_THAT(std::string(page->content), HasSubstr("<!doctype html>"));
  EXPECT_EQ(ContentType(page->name), "text/html; charset=utf-8");
  for (const char* path : {"", "*", "//", "/../etc/passwd", "/build.sh", "/package.json",
                           "/node_modules", "index.html"}) {
    EXPECT_EQ(FindAsset(path), nullptr) << path;
  }
}

TEST(ContentTypeTest, ByName) {
  EXPECT_EQ(ContentType("a.js"), "text/javascript; charset=utf-8");
  EXPECT_EQ(ContentType("a.svg"), "image/svg+xml");
  EXPECT_EQ(ContentType("a"), "application/octet-stream");
}

}  // namespace
}  // namespace atl::api
