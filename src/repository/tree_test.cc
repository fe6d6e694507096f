// SPDX-License-Identifier: Apache-2.0
#include "repository/tree.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "repository/node_json.h"

namespace atl::repository {
namespace {

using ::testing::HasSubstr;

std::string Encode(const std::vector<Node>& nodes) {
  std::string out;
  TreeEncoder encoder([&](std::string_view piece) -> Result<void> {
    out += piece;
    return {};
  });
  for (const Node& node : nodes) EXPECT_TRUE(encoder.Add(node));
  EXPECT_TRUE(encoder.Finish());
  return out;
}

std::string ErrorOf(std::string_view json) {
  auto nodes = DecodeTree(json);
  if (nodes) return "(none)";
  EXPECT_EQ(nodes.error().reason, "REPOSITORY_CORRUPT");
  return nodes.error().message;
}

std::string OneNode(std::string_view members) {
  return fmt::format(R"({{"nodes":[{{{}}}]}})", members);
}

Node File(std::string name, int blobs = 1) {
  Node node;
  node.name = std::move(name);
  node.permissions = 0644;
  node.mtime = {1'700'000'000, 123'456'789};
  node.ctime = {1'700'000'001, 5};
  node.size = 42;
  node.inode = 77;
  node.links = 1;
  for (int i = 0; i < blobs; ++i) node.content.push_back(Hash(node.name + std::to_string(i)));
  return node;
}

TEST(Names, EveryByteComesBack) {
  for (int c = 1; c < 256; ++c) {
    for (std::string name : {std::string(1, static_cast<char>(c)),
                             "a" + std::string(1, static_cast<char>(c)) + "é\xff"}) {
      auto back = UnquoteName(QuoteName(name));
      ASSERT_TRUE(back) << c;
      EXPECT_EQ(*back, name);
    }
  }
}

TEST(Names, RandomBytesComeBack) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string name(random() % 20, 0);
    for (char& c : name) c = static_cast<char>(random());
    auto back = UnquoteName(QuoteName(name));
    ASSERT_TRUE(back) << QuoteName(name);
    ASSERT_EQ(*back, name);
  }
}

// What Go's strconv.Quote gives.
TEST(Names, AreQuotedAsGoDoes) {
  EXPECT_EQ(QuoteName("plain.txt"), "plain.txt");
  EXPECT_EQ(QuoteName("a\"b\\c'd"), R"(a\"b\\c'd)");
  EXPECT_EQ(QuoteName("\a\b\f\n\r\t\v"), R"(\a\b\f\n\r\t\v)");
  EXPECT_EQ(QuoteName("\x01\x7f\xff\xc3"), R"(\x01\x7f\xff\xc3)");
  EXPECT_EQ(QuoteName("日本 ☺ é"), "日本 ☺ é");
  EXPECT_EQ(QuoteName("\u00a0\u2028\U000e0001\ufffd"), R"(\u00a0\u2028\U000e0001)"
                                                       "\ufffd");
  EXPECT_EQ(QuoteName("\xed\xa0\x80"), R"(\xed\xa0\x80)");  // a surrogate
}

TEST(Names, TakesAllEscapesOfGo) {
  EXPECT_EQ(UnquoteName(R"(\x41\101\u0041\U00000041\'\")").value(), "AAAA'\"");
  EXPECT_EQ(UnquoteName(R"(\377\u00e9\U0001F600)").value(), "\xffé😀");
  for (std::string_view wrong : {R"(\)", R"(\x4)", R"(\xzz)", R"(\400)", R"(\18)", R"(\u12)",
                                 R"(\ud800)", R"(\U00110000)", R"(\q)", "a\"b", "a\nb", R"(\8)"}) {
    EXPECT_FALSE(UnquoteName(wrong)) << wrong;
  }
}

TEST(Times, AreWrittenAndReadAsGoDoes) {
  EXPECT_EQ(FormatTime({0, 0}), "1970-01-01T00:00:00Z");
  EXPECT_EQ(FormatTime({1'700'000'000, 120'000'000}), "2023-11-14T22:13:20.12Z");
  EXPECT_EQ(FormatTime({-1, 999'999'999}), "1969-12-31T23:59:59.999999999Z");
  EXPECT_EQ(FormatTime({int64_t{1} << 60, 0}), "9999-12-31T23:59:59Z");
  EXPECT_EQ(FormatTime({-(int64_t{1} << 60), 0}), "0000-01-01T00:00:00Z");
  EXPECT_EQ(ParseTime("2023-11-15T00:13:20.12+02:00").value(), (Time{1'700'000'000, 120'000'000}));
  EXPECT_EQ(ParseTime("2023-11-14T17:43:20-04:30").value(), (Time{1'700'000'000, 0}));
  EXPECT_EQ(ParseTime("0001-01-01T00:00:00Z").value().seconds, -62'135'596'800);
  EXPECT_EQ(ParseTime("2023-11-14T22:13:20.1234567899Z").value().nanos, 123'456'789U);
  for (std::string_view wrong :
       {"", "2023", "2023-02-30T00:00:00Z", "2023-13-01T00:00:00Z", "2023-01-01T24:00:00Z",
        "2023-01-01T00:00:00", "2023-01-01T00:00:00.Z", "2023-01-01T00:00:00Zx",
        "2023-01-01 00:00:00Z", "-023-01-01T00:00:00Z", "2023-01-01T00:00:00+2:00"}) {
    EXPECT_FALSE(ParseTime(wrong)) << wrong;
  }
}

TEST(Tree, LooksAsResticWritesIt) {
  Node file = File("a<&>\n", 1);
  Node link;
  link.name = "l";
  link.type = NodeType::kSymlink;
  link.permissions = 0777;
  link.extra = std::make_unique<Node::Extra>();
  link.extra->link_target = "x\xff";
  link.extra->xattrs = {{"user.k", "v\n"}};
  std::vector<Node> nodes;
  std::string id = file.content[0].Hex();
  nodes.push_back(std::move(file));
  nodes.push_back(std::move(link));
  EXPECT_EQ(
      Encode(nodes),
      R"({"nodes":[{"name":"a\u003c\u0026\u003e\\n","type":"file","mode":420,)"
      R"("mtime":"2023-11-14T22:13:20.123456789Z","atime":"2023-11-14T22:13:20.123456789Z",)"
      R"("ctime":"2023-11-14T22:13:21.000000005Z","uid":0,"gid":0,"inode":77,"size":42,"links":1,)"
      R"("content":[")" +
          id +
          R"("]},{"name":"l","type":"symlink","mode":134218239,"mtime":"1970-01-01T00:00:00Z",)"
          R"("atime":"1970-01-01T00:00:00Z","uid":0,"gid":0,)"
          R"("linktarget":"x\ufffd","linktarget_raw":"eP8=",)"
          R"("extended_attributes":[{"name":"user.k","value":"dgo="}],"content":null}]})"
          "\n");
  EXPECT_EQ(Encode({}), "{\"nodes\":[]}\n");
}

TEST(Tree, EveryKindOfNodeComesBack) {
  std::vector<Node> nodes;
  int name = 0;
  for (auto type : {NodeType::kFile, NodeType::kDirectory, NodeType::kSymlink, NodeType::kFifo,
                    NodeType::kSocket, NodeType::kDevice, NodeType::kCharDevice}) {
    Node node = File(fmt::format("{:02} \xfe\"\\\n", name++), type == NodeType::kFile ? 3 : 0);
    node.type = type;
    node.permissions = 07654;
    node.uid = 4'294'967'295U;
    node.gid = 7;
    node.inode = UINT64_MAX;
    node.mtime.seconds = -5;
    if (type != NodeType::kFile) node.size = 0;
    if (type == NodeType::kDirectory) node.subtree = Hash("x");
    if (type == NodeType::kDevice || type == NodeType::kCharDevice) node.device = 0x103;
    if (type == NodeType::kSymlink || type == NodeType::kFile) {
      node.extra = std::make_unique<Node::Extra>();
      node.extra->xattrs = {{"user.a", std::string("\0\xff", 2)}, {"user.b", ""}};
    }
    if (type == NodeType::kSymlink) node.extra->link_target = "/a\xff/<b>\"\\\x01";
    nodes.push_back(std::move(node));
  }
  auto back = DecodeTree(Encode(nodes));
  ASSERT_TRUE(back) << back.error().message;
  ASSERT_EQ(back->size(), nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    EXPECT_TRUE(SameNode(nodes[i], (*back)[i])) << i;
    EXPECT_TRUE(SameNode(nodes[i], (*back)[i].Clone())) << i;
  }
  EXPECT_EQ(Encode(*back), Encode(nodes));
}

TEST(Tree, PiecesOfAnySizeGiveTheSame) {
  std::vector<Node> nodes;
  for (int i = 0; i < 20; ++i) nodes.push_back(File(fmt::format("n{:03}\xff<>", i), i));
  std::string json = Encode(nodes);
  for (size_t step : {1U, 2U, 3U, 7U, 64U, 1000U}) {
    size_t at = 0;
    TreeDecoder decoder([&](Node node) -> Result<void> {
      EXPECT_TRUE(SameNode(node, nodes.at(at++)));
      return {};
    });
    for (size_t from = 0; from < json.size(); from += step) {
      ASSERT_TRUE(decoder.Feed(std::string_view(json).substr(from, step)));
    }
    ASSERT_TRUE(decoder.Finish());
    EXPECT_EQ(at, nodes.size());
  }
}

TEST(Tree, IgnoresWhatItDoesNotKnowAndAnyOrder) {
  auto nodes = DecodeTree(
      R"( {"x":[{"nodes":[1]},null,{"a":{}}],"nodes":[{"content":[],"y":{"name":["q",1.5,true]},)"
      R"("device_id":1e9,"user":"root","generic_attributes":{"a":null},"mode":493,"type":"file",)"
      R"("extended_attributes":[{"z":1,"value":null,"name":"user.n"}],"uid":null,"name":"f"}],"z":0} )");
  ASSERT_TRUE(nodes) << nodes.error().message;
  ASSERT_EQ(nodes->size(), 1U);
  EXPECT_EQ(nodes->front().name, "f");
  EXPECT_EQ(nodes->front().permissions, 0755);
  EXPECT_EQ(nodes->front().xattrs(), (Xattrs{{"user.n", ""}}));
  EXPECT_TRUE(DecodeTree(R"({"nodes":null})"));
}

TEST(Tree, RefusesHostileNames) {
  for (std::string_view name : {"", ".", "..", "a/b", "/", "../x", R"(a\\x00)", R"(\\x2e.)",
                                R"(\\u002f)", R"(\\x2fetc)", R"(\u0000)", R"(\\q)"}) {
    EXPECT_NE(ErrorOf(OneNode(fmt::format(R"("name":"{}","type":"file")", name))), "(none)")
        << name;
  }
  std::string longest(255, 'a');
  EXPECT_EQ(ErrorOf(OneNode(fmt::format(R"("name":"{}","type":"file")", longest))), "(none)");
  EXPECT_NE(ErrorOf(OneNode(fmt::format(R"("name":"{}b","type":"file")", longest))), "(none)");
  EXPECT_THAT(ErrorOf(OneNode(fmt::format(R"("name":"{}","type":"file")", std::string(9999, 'a')))),
              HasSubstr("too long"));
}

TEST(Tree, RefusesDoubledAndUnsortedNames) {
  auto two = [](std::string_view a, std::string_view b) {
    return ErrorOf(fmt::format(
        R"({{"nodes":[{{"name":"{}","type":"fifo"}},{{"name":"{}","type":"fifo"}}]}})", a, b));
  };
  EXPECT_EQ(two("a", "b"), "(none)");
  EXPECT_THAT(two("a", "a"), HasSubstr("comes behind"));
  EXPECT_THAT(two("b", "a"), HasSubstr("comes behind"));
  EXPECT_THAT(two("a", R"(\\x61)"), HasSubstr("comes behind"));
  EXPECT_EQ(two("z", R"(\\xff)"), "(none)");  // by bytes
}

TEST(Tree, RefusesWhatMakesNoSense) {
  std::string file = R"("name":"f","type":"file")";
  for (std::string members : {std::string(R"("name":"f")"),
                              std::string(R"("type":"file")"),
                              std::string(R"("name":"f","type":"irregular")"),
                              std::string(R"("name":7,"type":"file")"),
                              std::string(R"("name":"d","type":"dir")"),
                              std::string(R"("name":"l","type":"symlink")"),
                              std::string(R"("name":"d","type":"dir","subtree":"zz")"),
                              file + R"(,"size":-1)",
                              file + R"(,"size":1e3)",
                              file + R"(,"size":1125899906842625)",
                              file + R"(,"uid":4294967296)",
                              file + R"(,"uid":"0")",
                              file + R"(,"content":["ab"])",
                              file + R"(,"content":[null])",
                              file + R"(,"content":{})",
                              file + R"(,"content":[[]])",
                              file + R"(,"mtime":"yesterday")",
                              file + R"(,"name":"g")",
                              file + R"(,"extended_attributes":[{"value":""}])",
                              file + R"(,"extended_attributes":[{"name":"a","value":"?"}])",
                              file + R"(,"extended_attributes":{})",
                              file + R"(,"size":true)"}) {
    EXPECT_NE(ErrorOf(OneNode(members)), "(none)") << members;
  }
  std::string target =
      fmt::format(R"("name":"l","type":"symlink","linktarget":"{}")", std::string(4097, 'x'));
  EXPECT_THAT(ErrorOf(OneNode(target)), HasSubstr("link target"));
}

TEST(Tree, RefusesWhatIsNoTree) {
  std::string deep = R"({"nodes":[],"x":)" + std::string(1000, '[');
  for (std::string_view json :
       {std::string_view(""), std::string_view("[]"), std::string_view("{}"),
        std::string_view("null"), std::string_view("7"), std::string_view(R"({"nodes":[)"),
        std::string_view(R"({"nodes":[]}x)"), std::string_view(R"({"nodes":[7]})"),
        std::string_view(R"({"nodes":{}})"), std::string_view(R"({"nodes":[],"nodes":[]})"),
        std::string_view(R"({"nodes":[[]]})"), std::string_view(deep)}) {
    EXPECT_NE(ErrorOf(json), "(none)") << json.substr(0, 40);
  }
}

TEST(Tree, AnErrorOfTheCallerComesOut) {
  TreeDecoder decoder([](Node) -> Result<void> { return Fail(Code::kCancelled, "enough"); });
  auto fed = decoder.Feed(R"({"nodes":[{"name":"f","type":"fifo"}]})");
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code, Code::kCancelled);
  EXPECT_FALSE(decoder.Feed("{"));
}

TEST(Tree, EncoderRefusesWhatDecoderWould) {
  TreeEncoder encoder([](std::string_view) -> Result<void> { return {}; });
  ASSERT_TRUE(encoder.Add(File("b")));
  EXPECT_FALSE(encoder.Add(File("a")));
  EXPECT_FALSE(encoder.Add(File("b")));
  EXPECT_FALSE(encoder.Add(File("..")));
  EXPECT_TRUE(encoder.Add(File("c")));
}

TEST(Tree, AMillionNodesPassThroughInPieces) {
  constexpr int kNodes = 1'000'000;
  int seen = 0;
  size_t bytes = 0;
  TreeDecoder decoder([&](Node) -> Result<void> {
    ++seen;
    return {};
  });
  TreeEncoder encoder([&](std::string_view piece) -> Result<void> {
    EXPECT_LT(piece.size(), 128U << 10U);
    bytes += piece.size();
    return decoder.Feed(piece);
  });
  Node node = File("x", 0);
  node.size = 0;
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kNodes; ++i) {
    node.name = fmt::format("empty-{:07}", i);
    ASSERT_TRUE(encoder.Add(node));
  }
  ASSERT_TRUE(encoder.Finish());
  ASSERT_TRUE(decoder.Finish());
  EXPECT_EQ(seen, kNodes);
  auto took = std::chrono::steady_clock::now() - start;
  RecordProperty("ns_per_node", std::to_string(took.count() / kNodes));
}

}  // namespace
}  // namespace atl::repository
