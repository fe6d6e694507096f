// SPDX-License-Identifier: Apache-2.0
#include "opencode/ui_manifest.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

namespace atl::opencode {
namespace {

const std::string kDigest(64, 'a');

std::string File(std::string_view path,
                 std::string_view fields = R"("headers":{"Vary":"Origin"})") {
  return fmt::format(R"("{}":{{"type":"text/html","sha256":"{}","size":3,{}}})", path, kDigest,
                     fields);
}

std::string Manifest(std::string_view files,
                     std::string_view top = R"("format":1,"binarySize":9)") {
  return fmt::format(R"({{{},"files":{{{}}}}})", top, files);
}

TEST(ParseUiManifestTest, ReadsFilesAndTheirFields) {
  Result<UiManifest> manifest =
      ParseUiManifest(Manifest(File("/index.html") + "," + File("/assets/a-1.js")));
  ASSERT_TRUE(manifest) << manifest.error().message;
  EXPECT_EQ(manifest->binary_size, 9U);
  EXPECT_EQ(manifest->files.size(), 2U);
  EXPECT_EQ(manifest->index().size, 3U);
  EXPECT_EQ(manifest->index().headers.Get("content-type"), "text/html");
  EXPECT_EQ(manifest->index().headers.Get("vary"), "Origin");
  EXPECT_EQ(manifest->index().etag(), '"' + std::string(32, 'a') + '"');
}

TEST(ParseUiManifestTest, RefusesWhatItCannotVouchFor) {
  const std::string index = File("/index.html");
  const std::string cases[] = {
      "",
      "[]",
      "{}",
      Manifest(""),
      Manifest(File("/other.html")),
      Manifest(index, R"("format":2,"binarySize":9)"),
      Manifest(index, R"("format":1)"),
      Manifest(index + "," + File("relative")),
      Manifest(index + "," + File("/a b")),
      Manifest(index + "," + File("/a?b")),
      Manifest(index + R"(,"/x":null)"),
      Manifest(index + R"(,"/x":{"type":"a/b","sha256":"../../etc/passwd","size":1})"),
      Manifest(index + R"(,"/x":{"type":"a/b","sha256":")" + kDigest + R"("})"),
      Manifest(index + R"(,"/x":{"type":"a/b","sha256":")" + kDigest + R"(","size":-1})"),
      Manifest(index + R"(,"/x":{"type":"a/b","sha256":")" + kDigest + R"(","size":99999999999})"),
      Manifest(index + R"(,"/x":{"type":"a\r\nX: y","sha256":")" + kDigest + R"(","size":1})"),
      Manifest(index + "," + File("/x", R"("headers":{"Set-Cookie":"a=b"})")),
      Manifest(index + "," + File("/x", R"("headers":{"transfer-encoding":"chunked"})")),
      Manifest(index + "," + File("/x", R"("headers":{"Access-Control-Allow-Origin":"*"})")),
      Manifest(index + "," + File("/x", R"("headers":{"X: y":"z"})")),
      Manifest(index + "," + File("/x", R"("headers":{"X":"y\r\nSet-Cookie: a=b"})")),
      Manifest(index + "," + File("/x", R"("headers":{"Content-Type":"text/plain"})")),
  };
  for (const std::string& text : cases) EXPECT_FALSE(ParseUiManifest(text)) << text;
}

TEST(ParseUiManifestTest, RefusesMoreThanThereCanBe) {
  std::string files = File("/index.html");
  for (int i = 0; i < 5000; ++i) files += "," + File(fmt::format("/{}", i));
  EXPECT_FALSE(ParseUiManifest(Manifest(files)));
  std::string big = File("/index.html");
  for (int i = 0; i < 5; ++i) {
    big += fmt::format(R"(,"/{}":{{"type":"a/b","sha256":"{}","size":60000000}})", i, kDigest);
  }
  EXPECT_FALSE(ParseUiManifest(Manifest(big)));
}

TEST(IsUiRouteTest, OnlyWhatTheUiShowsItself) {
  for (const char* path :
       {"/", "/L3dvcmtzcGFjZQ", "/L3dvcmtzcGFjZQ/", "/L3dvcmtzcGFjZQ/session",
        "/L3dvcmtzcGFjZQ/session/ses_1", "/new-session", "/server/x/session/1"}) {
    EXPECT_TRUE(IsUiRoute(path)) << path;
  }
  for (const char* path :
       {"", "L3dvcmtzcGFjZQ", "/session", "/session/ses_1", "/L", "/La/session",
        "/L3dvcmtz%63/session", "/L3dvcmtzcGFjZQ/file", "/config", "/event", "/global/health",
        "/server", "/server/x", "/server/x/file", "/Lw==", "/api/session"}) {
    EXPECT_FALSE(IsUiRoute(path)) << path;
  }
}

TEST(MatchesEtagTest, ListsWeakOnesAndAny) {
  EXPECT_TRUE(MatchesEtag(R"("a")", R"("a")"));
  EXPECT_TRUE(MatchesEtag(R"("b", W/"a")", R"("a")"));
  EXPECT_TRUE(MatchesEtag("*", R"("a")"));
  EXPECT_FALSE(MatchesEtag("", R"("a")"));
  EXPECT_FALSE(MatchesEtag(R"("b",,"c")", R"("a")"));
}

}  // namespace
}  // namespace atl::opencode
