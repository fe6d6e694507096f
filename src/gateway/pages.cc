// SPDX-License-Identifier: Apache-2.0
#include "gateway/pages.h"

#include <fmt/format.h>

#include <random>

namespace atl::gateway {
namespace {

constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--paper:#f6f3ec;--card:#fffdf9;--line:#e3dccd;--ink:#16343b;
--soft:#5d7377;--lagoon:#0f7f88;--deep:#0a626b;--on:#fff;--sand:#d8c08a;--coral:#b9412b}
@media(prefers-color-scheme:dark){:root{--paper:#0c1a20;--card:#12252d;--line:#203943;--ink:#e2eeee;
--soft:#93abb0;--lagoon:#53c4bf;--deep:#7bd9d2;--on:#06242a;--sand:#c9b27f;--coral:#ff9279}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:24px;background:var(--paper);
color:var(--ink);font:16px/1.55 ui-sans-serif,system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
main{max-width:440px;width:100%;background:var(--card);border:1px solid var(--line);
border-radius:14px;padding:36px 32px;text-align:center}
svg{width:64px;height:64px;margin-bottom:14px}
.turning svg{animation:turn 6s linear infinite}
@keyframes turn{to{transform:rotate(360deg)}}
@media(prefers-reduced-motion:reduce){.turning svg{animation:none}}
h1{font-size:21px;line-height:1.3;margin:0 0 8px;font-weight:650;overflow-wrap:anywhere}
p{margin:0;color:var(--soft);overflow-wrap:anywhere}
.problem{color:var(--coral);margin-top:14px;font-size:14px}
.problem:empty{display:none}
button{margin-top:22px;font:inherit;font-weight:600;color:var(--on);background:var(--lagoon);border:0;
border-radius:10px;padding:10px 22px;cursor:pointer}
button:hover{background:var(--deep)}
button:disabled{opacity:.6;cursor:default}
button:focus-visible{outline:3px solid var(--sand);outline-offset:2px}
)css";

constexpr std::string_view kRing = R"svg(<svg viewBox="0 0 64 64" aria-hidden="true">
<circle cx="32" cy="32" r="18" fill="#35b3b0"/><g fill="none" stroke-linecap="round" stroke="#d8c08a">
<path stroke-width="8" d="M32 8A24 24 0 0 1 52.5 19.5"/><path stroke-width="6.5" d="M56 31A24 24 0 0 1 45 52.2"/>
<path stroke-width="8" d="M35 55.8A24 24 0 0 1 13.5 47.2"/><path stroke-width="5.5" d="M8.4 36.5A24 24 0 0 1 10 22.5"/>
<path stroke-width="7" d="M14.6 15.4A24 24 0 0 1 22 10.2"/></g></svg>)svg";

// The health request is held by the gateway until OpenCode is ready, so it answers at the moment.
constexpr std::string_view kHoldingScript = R"js(
const problem = document.getElementById('problem');
async function wait() {
  for (;;) {
    try {
      const answer = await fetch('/global/health?held', {cache: 'no-store'});
      if (answer.ok) return location.reload();
      if (answer.status === 404) return location.replace('/');
      problem.textContent = (await answer.json()).message + ' Trying again.';
    } catch {}
    await new Promise((done) => setTimeout(done, 1000));
  }
}
wait();
)js";

constexpr std::string_view kCreateScript = R"js(
const button = document.getElementById('create');
const problem = document.getElementById('problem');
button.addEventListener('click', async () => {
  button.disabled = true;
  button.textContent = 'Creating…';
  problem.textContent = '';
  try {
    const options = {method: 'POST', body: '{"opencode":false}',
                     headers: {'Content-Type': 'application/json'}};
    const answer = await fetch('/create', options);
    if (answer.ok) return location.replace('/');
    problem.textContent = (await answer.json()).message;
  } catch (error) {
    problem.textContent = String(error.message ?? error);
  }
  button.disabled = false;
  button.textContent = 'Create it';
});
)js";

// Asks while somebody looks, less and less often: a request keeps the sandbox awake.
constexpr std::string_view kPortScript = R"js(
let pause = 1000;
async function wait() {
  for (;;) {
    await new Promise((done) => setTimeout(done, pause));
    if (document.hidden) continue;
    pause = Math.min(pause * 1.2, 15000);
    try {
      const answer = await fetch(location.href, {method: 'HEAD', cache: 'no-store'});
      if (answer.status !== 502 && answer.status !== 503) return location.reload();
    } catch {}
  }
}
addEventListener('visibilitychange', () => { pause = 1000; });
wait();
)js";

std::string NewNonce() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

struct Page {
  int status = 200;
  std::string title;
  std::string body;  // HTML
  std::string_view script;
  bool turning = false;
  int refresh_seconds = 0;  // 0: not by itself
  bool refresh_without_script = false;
};

http::ResponseHead PageHead(const Page& page, const std::string& nonce) {
  http::ResponseHead head;
  head.status = page.status;
  head.headers.Add("Content-Type", "text/html; charset=utf-8");
  head.headers.Add("Cache-Control", "no-store");
  head.headers.Add("X-Content-Type-Options", "nosniff");
  head.headers.Add("Referrer-Policy", "no-referrer");
  head.headers.Add(
      "Content-Security-Policy",
      fmt::format("default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; "
                  "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                  "frame-ancestors 'none'",
                  nonce));
  if (page.status == 503) head.headers.Add("Retry-After", "2");
  return head;
}

std::string PageText(const Page& page, const std::string& nonce) {
  std::string refresh;
  if (page.refresh_seconds > 0) {
    refresh = fmt::format("<meta http-equiv=\"refresh\" content=\"{}\">", page.refresh_seconds);
    if (page.refresh_without_script) refresh = "<noscript>" + refresh + "</noscript>";
  }
  std::string script;
  if (!page.script.empty()) {
    script = fmt::format("<script nonce=\"{}\">{}</script>", nonce, page.script);
  }
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<title>{}</title><link rel=\"icon\" href=\"data:,\">{}<style "
      "nonce=\"{}\">{}</style></head>\n"
      "<body><main{}>{}\n{}</main>{}</body></html>\n",
      HtmlEscape(page.title), refresh, nonce, kStyle, page.turning ? " class=\"turning\"" : "",
      kRing, page.body, script);
}

async::Task<> RespondPage(http::Exchange& exchange, Page page) {
  std::string nonce = NewNonce();
  http::ResponseHead head = PageHead(page, nonce);
  std::string text = PageText(page, nonce);
  Result<void> sent = co_await exchange.Respond(std::move(head), std::move(text));
  (void)sent;  // the client has gone away
}

}  // namespace

bool IsNavigation(const http::RequestHead& request) {
  if (request.method != "GET" && request.method != "HEAD") return false;
  if (request.headers.Has("Upgrade")) return false;
  std::string mode = request.headers.Joined("Sec-Fetch-Mode");
  if (!mode.empty()) return http::EqualsIgnoreCase(mode, "navigate");
  return request.headers.Joined("Accept").find("text/html") != std::string::npos;
}

std::string HtmlEscape(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

async::Task<> RespondHolding(http::Exchange& exchange, std::string id, std::string failure) {
  std::string problem = failure.empty() ? std::string() : failure + " Trying again.";
  Page page;
  page.status = 503;
  page.title = "OpenCode is starting in " + id;
  page.body = fmt::format(
      "<h1>OpenCode is starting in {}</h1><p>This takes a few seconds. The page goes on by "
      "itself.</p><p class=\"problem\" id=\"problem\" role=\"status\">{}</p>",
      HtmlEscape(id), HtmlEscape(problem));
  page.script = kHoldingScript;
  page.turning = true;
  page.refresh_seconds = 2;
  page.refresh_without_script = true;
  co_await RespondPage(exchange, std::move(page));
}

async::Task<> RespondCreate(http::Exchange& exchange, std::string id) {
  Page page;
  page.status = 404;
  page.title = "There is no sandbox " + id;
  page.body = fmt::format(
      "<h1>There is no sandbox {0} yet</h1><p>Create it, and OpenCode opens here.</p>"
      "<button id=\"create\">Create it</button>"
      "<p class=\"problem\" id=\"problem\" role=\"status\"></p>",
      HtmlEscape(id));
  page.script = kCreateScript;
  co_await RespondPage(exchange, std::move(page));
}

async::Task<> RespondNothingOnPort(http::Exchange& exchange, std::string id, uint16_t port,
                                   std::vector<std::string> others) {
  Page page;
  page.status = 502;
  page.title = fmt::format("Nothing listens on port {}", port);
  page.body = fmt::format(
      "<h1>Nothing listens on port {} in {}</h1><p>The page goes on by itself when something "
      "does.</p>",
      port, HtmlEscape(id));
  if (!others.empty()) {
    std::string list;
    for (const std::string& one : others) list += (list.empty() ? "" : ", ") + HtmlEscape(one);
    page.body += fmt::format("<p>What listens: {}.</p>", list);
  }
  page.script = kPortScript;
  page.refresh_seconds = 5;
  page.refresh_without_script = true;
  co_await RespondPage(exchange, std::move(page));
}

async::Task<> RespondSentence(http::Exchange& exchange, int status, std::string title,
                              std::string sentence, bool retry) {
  Page page;
  page.status = status;
  page.body = fmt::format("<h1>{}</h1><p>{}</p>", HtmlEscape(title), HtmlEscape(sentence));
  page.title = std::move(title);
  page.refresh_seconds = retry ? 3 : 0;
  co_await RespondPage(exchange, std::move(page));
}

}  // namespace atl::gateway
