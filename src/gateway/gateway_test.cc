// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway.h"

#include <gtest/gtest.h>

#include "gateway/opencode_policy.h"
#include "gateway/origin.h"
#include "gateway/pages.h"

namespace atl::gateway {
namespace {

std::string Say(const Route& route) {
  if (std::holds_alternative<BareDomain>(route)) return "bare";
  if (const auto* sandbox = std::get_if<SandboxHost>(&route)) return sandbox->id;
  if (const auto* port = std::get_if<PortHost>(&route)) {
    std::string token = port->token.empty() ? "" : ":" + port->token;
    return std::to_string(port->port) + ":" + port->id + token;
  }
  if (const auto* sdk = std::get_if<SdkHost>(&route)) return "sdk:" + sdk->id;
  return "unknown";
}

struct HostCase {
  const char* host;
  const char* expected;
};

TEST(RouteHostTest, FirstLabelDecides) {
  const HostCase cases[] = {
      {"localhost", "bare"},
      {"localhost:8787", "bare"},
      {"LOCALHOST:8787", "bare"},
      {"localhost.", "bare"},
      {"127.0.0.1:8787", "bare"},
      {"[::1]:8787", "bare"},
      {"[::1]", "bare"},
      {"demo.localhost:8787", "demo"},
      {"Demo.LocalHost", "demo"},
      {"demo.localhost.:8787", "demo"},
      {"a-b-1.localhost", "a-b-1"},
      {"3000-demo.localhost:8787", "3000:demo"},
      {"1-a.localhost", "1:a"},
      {"65535-demo.localhost", "65535:demo"},
      {"8080-my-app.localhost", "8080:my-app"},
      {"3000-my-app--a_9.localhost:8787", "3000:my-app:a_9"},
      {"3000-demo--0123456789abcdef.localhost", "3000:demo:0123456789abcdef"},
      {"3000-demo--0123456789abcdefg.localhost", "unknown"},
      {"3000-demo--.localhost", "unknown"},
      {"3000-demo--a-b.localhost", "unknown"},
      {"3000-demo---a.localhost", "unknown"},
      {"demo--abc.localhost", "unknown"},
      {"sdk--demo.localhost:8787", "sdk:demo"},
      {"SDK--my-app.localhost", "sdk:my-app"},
      {"sdk--.localhost", "unknown"},
      {"sdk---a.localhost", "unknown"},
      {"sdk--a--b.localhost", "unknown"},
      {"sdk--3000-demo.localhost", "unknown"},
      {"sdk--sdk.localhost", "unknown"},
      {"3000-sdk--demo.localhost", "unknown"},
      {"sdk-demo.localhost", "sdk-demo"},
      {"65536-demo.localhost", "unknown"},
      {"0-demo.localhost", "unknown"},
      {"03000-demo.localhost", "unknown"},
      {"99999999999-demo.localhost", "unknown"},
      {"3000-.localhost", "unknown"},
      {"3000-4000-demo.localhost", "unknown"},
      {"3000--demo.localhost", "unknown"},
      {"-demo.localhost", "unknown"},
      {"demo-.localhost", "unknown"},
      {"a--b.localhost", "unknown"},
      {"www.localhost", "unknown"},
      {"api.localhost", "unknown"},
      {"3000-www.localhost", "unknown"},
      {"sdk.localhost", "unknown"},
      {"x.demo.localhost", "unknown"},
      {"demo.localhost.evil.example", "unknown"},
      {"evillocalhost", "unknown"},
      {"demo", "unknown"},
      {"", "unknown"},
      {".localhost", "unknown"},
      {"127.0.0.2", "unknown"},
      {"192.168.1.5:8787", "unknown"},
      {"[::2]:8787", "unknown"},
      {"[::1", "unknown"},
      {"[::1]x:1", "unknown"},
      {"demo.localhost:", "unknown"},
      {"demo.localhost:x", "unknown"},
      {"demo.localhost:1:2", "unknown"},
      {"a@demo.localhost", "unknown"},
      {"demo.localhost/x", "unknown"},
      {"dem\xC3\xB6.localhost", "unknown"},
      {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.localhost", "unknown"},
  };
  for (const HostCase& one : cases) {
    EXPECT_EQ(Say(RouteHost(one.host, "localhost")), one.expected) << one.host;
  }
}

TEST(RouteHostTest, AnotherDomainHasNoAddresses) {
  EXPECT_EQ(Say(RouteHost("demo.box.example.com:80", "box.example.com")), "demo");
  EXPECT_EQ(Say(RouteHost("box.example.com", "Box.example.com")), "bare");
  EXPECT_EQ(Say(RouteHost("127.0.0.1", "box.example.com")), "unknown");
  EXPECT_EQ(Say(RouteHost("demo.localhost", "box.example.com")), "unknown");
}

struct OriginCase {
  const char* host;
  const char* origin;  // null: none
  bool allowed;
};

http::RequestHead Request(std::string method, std::string host) {
  http::RequestHead head;
  head.method = std::move(method);
  head.target = "/";
  head.host = std::move(host);
  return head;
}

bool Allowed(const http::RequestHead& head) {
  return CheckOrigin(head, RouteHost(head.host, "localhost"), "localhost").has_value();
}

TEST(CheckOriginTest, OnlyTheHostsOwnPagesWhateverTheMethod) {
  const OriginCase cases[] = {
      {"demo.localhost:8787", "http://demo.localhost:8787", true},
      {"demo.localhost:8787", "https://demo.localhost:8787", true},
      {"Demo.localhost:8787", "http://demo.localhost:8787", true},
      {"demo.localhost", "http://demo.localhost", true},
      {"demo.localhost:80", "http://demo.localhost", true},
      {"demo.localhost", "https://demo.localhost", true},
      {"localhost:8787", "http://localhost:8787", true},
      {"localhost:8787", "http://127.0.0.1:8787", false},
      {"127.0.0.1:8787", "http://127.0.0.1:8787", true},
      {"[::1]:8787", "http://[::1]:8787", true},
      {"demo.localhost:8787", "null", false},
      {"demo.localhost:8787", "", false},
      {"demo.localhost:8787", "http://evil.example", false},
      {"demo.localhost:8787", "http://other.localhost:8787", false},
      {"demo.localhost:8787", "http://localhost:8787", false},
      {"demo.localhost:8787", "http://demo.localhost:9999", false},
      {"demo.localhost:8787", "http://demo.localhost", false},
      {"demo.localhost:8787", "http://demo.localhost:8787.evil.example", false},
      {"demo.localhost:8787", "http://demo.localhost:8787/", false},
      {"demo.localhost:8787", "http://demo.localhost:8787@evil.example", false},
      {"demo.localhost:8787", "ftp://demo.localhost:8787", false},
      {"demo.localhost:8787", "demo.localhost:8787", false},
      {"demo.localhost:8787", "https://app.opencode.ai", false},
      {"localhost:8787", "http://demo.localhost:8787", false},
      {"demo.localhost:8787", "http://3000-demo.localhost:8787", false},
      {"3000-demo.localhost:8787", "http://3000-demo.localhost:8787", true},
      {"3000-demo.localhost:8787", "http://5173-demo.localhost:8787", true},
      {"3000-demo.localhost:8787", "http://5173-demo.localhost:9999", false},
      {"3000-demo.localhost:8787", "http://5173-other.localhost:8787", false},
      {"3000-demo.localhost:8787", "http://demo.localhost:8787", false},
      {"3000-demo.localhost:8787", "http://localhost:8787", false},
  };
  for (const OriginCase& one : cases) {
    for (const char* method : {"GET", "POST", "OPTIONS", "DELETE"}) {
      http::RequestHead head = Request(method, one.host);
      head.headers.Add("Origin", one.origin);
      EXPECT_EQ(Allowed(head), one.allowed) << method << ' ' << one.host << ' ' << one.origin;
      head.headers.Add("Upgrade", "websocket");
      EXPECT_EQ(Allowed(head), one.allowed) << "upgrade " << one.host << ' ' << one.origin;
    }
  }
}

TEST(CheckOriginTest, TwoOriginsAreNone) {
  http::RequestHead head = Request("GET", "demo.localhost");
  head.headers.Add("Origin", "http://demo.localhost");
  head.headers.Add("Origin", "http://demo.localhost");
  EXPECT_FALSE(Allowed(head));
}

struct FetchCase {
  const char* method;
  const char* site;
  const char* mode;
  const char* dest;
  bool allowed;
};

TEST(CheckOriginTest, WithoutOriginTheFetchMetadataDecide) {
  EXPECT_TRUE(Allowed(Request("POST", "demo.localhost"))) << "programs send neither";
  const FetchCase cases[] = {
      {"GET", "none", "navigate", "document", true},
      {"GET", "same-origin", "cors", "empty", true},
      {"GET", "cross-site", "navigate", "document", true},
      {"GET", "same-site", "navigate", "document", true},
      {"POST", "cross-site", "navigate", "document", false},
      {"GET", "same-site", "navigate", "iframe", false},
      {"GET", "cross-site", "navigate", "embed", false},
      {"GET", "cross-site", "navigate", "object", false},
      {"GET", "same-site", "navigate", "frame", false},
      {"GET", "same-site", "no-cors", "script", false},
      {"GET", "cross-site", "no-cors", "image", false},
      {"GET", "same-site", "websocket", "empty", false},
      {"GET", "nonsense", "no-cors", "image", false},
  };
  for (const FetchCase& one : cases) {
    http::RequestHead head = Request(one.method, "demo.localhost");
    head.headers.Add("Sec-Fetch-Site", one.site);
    head.headers.Add("Sec-Fetch-Mode", one.mode);
    head.headers.Add("Sec-Fetch-Dest", one.dest);
    EXPECT_EQ(Allowed(head), one.allowed)
        << one.method << ' ' << one.site << ' ' << one.mode << ' ' << one.dest;
  }
}

TEST(CheckOriginTest, PortsOfOneSandboxMayEmbedEachOther) {
  http::RequestHead head = Request("GET", "3000-demo.localhost:8787");
  head.headers.Add("Sec-Fetch-Site", "same-site");
  head.headers.Add("Sec-Fetch-Mode", "no-cors");
  head.headers.Add("Sec-Fetch-Dest", "script");
  EXPECT_FALSE(Allowed(head));
  head.headers.Set("Referer", "http://5173-demo.localhost:8787/page?x");
  EXPECT_TRUE(Allowed(head));
  head.headers.Set("Referer", "http://5173-other.localhost:8787/");
  EXPECT_FALSE(Allowed(head));
  head.host = "demo.localhost:8787";
  head.headers.Set("Referer", "http://3000-demo.localhost:8787/");
  EXPECT_FALSE(Allowed(head));
}

TEST(IsBlockedPathTest, SeesThroughSpellings) {
  for (const char* path : {"/global/upgrade", "/global/upgrade/", "//global//upgrade",
                           "/global/%75pgrade", "/Global/Upgrade", "/doc", "/doc/"}) {
    EXPECT_TRUE(IsBlockedPath(path)) << path;
  }
  for (const char* path :
       {"/", "/global/health", "/document", "/doc/x", "/session/global/upgrade"}) {
    EXPECT_FALSE(IsBlockedPath(path)) << path;
  }
}

TEST(IsNavigationTest, PeopleNotPrograms) {
  http::RequestHead head = Request("GET", "demo.localhost");
  EXPECT_FALSE(IsNavigation(head));
  head.headers.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
  EXPECT_TRUE(IsNavigation(head));
  head.headers.Set("Sec-Fetch-Mode", "cors");
  EXPECT_FALSE(IsNavigation(head));
  head.headers.Set("Sec-Fetch-Mode", "navigate");
  EXPECT_TRUE(IsNavigation(head));
  head.method = "POST";
  EXPECT_FALSE(IsNavigation(head));
}

TEST(HtmlEscapeTest, NothingBecomesMarkup) {
  EXPECT_EQ(HtmlEscape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
}

}  // namespace
}  // namespace atl::gateway
