// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "json/names.h"
#include "json/reader.h"
#include "json/utf8.h"
#include "json/writer.h"

namespace atl::json {
namespace {

std::string Why(const Error& error) { return error.reason + ": " + error.message; }

template <class T>
std::string Why(const Result<T>& result) {
  return result ? "no error" : Why(result.error());
}

TEST(ObjectTest, ReadsFieldsOfEveryKind) {
  auto object = Object::Parse(
      R"({"s":"a\u00e9","i":-3,"n":1.5,"w":2,"b":true,"none":null,"m":{"A":"1","B":""},"other":[]})");
  ASSERT_TRUE(object) << Why(object);
  EXPECT_EQ(object->String("s").value(), "aé");
  EXPECT_EQ(object->OptionalInt("i", {}).value(), -3);
  EXPECT_EQ(object->OptionalNumber("n", 0, 10).value(), 1.5);
  EXPECT_EQ(object->OptionalNumber("w", 0, 10).value(), 2.0);
  EXPECT_EQ(object->OptionalBool("b").value(), true);
  EXPECT_EQ(object->OptionalString("none").value(), std::nullopt);
  EXPECT_EQ(object->OptionalInt("absent", {}).value(), std::nullopt);
  StringMap expected = {{"A", "1"}, {"B", ""}};
  EXPECT_EQ(object->OptionalTextMap("m").value(), expected);
}

TEST(ObjectTest, FailuresNameTheField) {
  auto object = Object::Parse(R"({"s":1,"i":"x","f":1.5,"big":18446744073709551615,"m":{"A":1},
                                  "z":"a\u0000b","r":7,"b":"true"})");
  ASSERT_TRUE(object) << Why(object);
  EXPECT_EQ(Why(object->String("s")), "VALIDATION_FAILED: \"s\" must be a string");
  EXPECT_EQ(Why(object->String("gone")), "VALIDATION_FAILED: \"gone\" is missing");
  EXPECT_EQ(Why(object->OptionalInt("r", {.min = 1, .max = 5})),
            "VALIDATION_FAILED: \"r\" must be a whole number from 1 to 5");
  EXPECT_FALSE(object->OptionalInt("i", {}));
  EXPECT_FALSE(object->OptionalInt("f", {}));
  EXPECT_FALSE(object->OptionalInt("big", {}));
  EXPECT_FALSE(object->OptionalBool("b"));
  EXPECT_EQ(Why(object->OptionalTextMap("m")), "VALIDATION_FAILED: \"m.A\" must be a string");
  EXPECT_EQ(Why(object->Text("z")),
            "VALIDATION_FAILED: \"z\" must be a string without NUL characters");
  EXPECT_TRUE(object->String("z"));
}

TEST(ObjectTest, RefusesWhatIsNotAnObject) {
  EXPECT_EQ(Object::Parse("").error().reason, "INVALID_JSON");
  EXPECT_EQ(Object::Parse("{").error().reason, "INVALID_JSON");
  EXPECT_EQ(Object::Parse("{} {}").error().reason, "INVALID_JSON");
  EXPECT_EQ(Object::Parse("{\"a\":\"\xff\"}").error().reason, "INVALID_JSON");
  EXPECT_EQ(Object::Parse("[1]").error().reason, "VALIDATION_FAILED");
  EXPECT_EQ(Object::Parse("null").error().reason, "VALIDATION_FAILED");
  EXPECT_TRUE(Object::Parse(" \r\n", true));
}

TEST(ObjectTest, BoundsSizeAndDepth) {
  std::string deep = "{\"a\":" + std::string(100'000, '[');
  EXPECT_EQ(Object::Parse(deep).error().reason, "INVALID_JSON");
  Error error = Object::Parse("{\"a\":1}", false, {.max_bytes = 4}).error();
  EXPECT_EQ(HttpStatus(error.code), 413);
  EXPECT_EQ(error.reason, "PAYLOAD_TOO_LARGE");
}

TEST(ObjectTest, HugeNumbersAreOutOfRange) {
  auto object = Object::Parse(R"({"a":1e999,"b":-99999999999999999999})");
  if (!object) return;  // refused as a whole: fine too
  EXPECT_FALSE(object->OptionalNumber("a", 0, 1e9));
  EXPECT_FALSE(object->OptionalInt("b", {}));
}

TEST(WriterTest, WritesNestedValues) {
  Writer writer;
  writer.BeginObject().Field("a", "x").Field("b", 1).Field("c", true).Key("d").BeginArray();
  writer.Int(1).BeginObject().EndObject().Null().EndArray();
  writer.Field("e", 0.5).Field("f", uint64_t{18446744073709551615U}).EndObject();
  EXPECT_EQ(writer.Take(),
            R"({"a":"x","b":1,"c":true,"d":[1,{},null],"e":0.5,"f":18446744073709551615})");
}

TEST(WriterTest, EscapesEveryByteThatNeedsIt) {
  for (size_t before = 0; before < 17; ++before) {
    std::string pad(before, 'x');
    std::string out;
    AppendString(out, pad + "\"\\\n\r\t\x01\x1f" + std::string(1, '\0') + "é\x7f" + pad);
    EXPECT_EQ(out, "\"" + pad + R"(\"\\\n\r\t\u0001\u001f\u0000é)" + "\x7f" + pad + "\"");
  }
}

TEST(WriterTest, RepairsWhatIsNotUtf8) {
  std::string out;
  AppendString(out,
               "a\xff"
               "b\xe2\x82");
  EXPECT_EQ(out,
            "\"a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD\"");
}

TEST(WriterTest, LongTextSurvives) {
  std::string text;
  for (int i = 0; i < 30'000; ++i) text.append(i % 60 == 0 ? "\n" : "a");
  std::string out = "{\"t\":";
  AppendUtf8String(out, text);
  out.push_back('}');
  EXPECT_EQ(Object::Parse(out)->String("t").value(), text);
}

TEST(WriterTest, Base64) {
  auto encode = [](std::string_view bytes) {
    std::string out;
    AppendBase64(out, bytes);
    return out;
  };
  EXPECT_EQ(encode(""), "");
  EXPECT_EQ(encode("f"), "Zg==");
  EXPECT_EQ(encode("fo"), "Zm8=");
  EXPECT_EQ(encode("foo"), "Zm9v");
  EXPECT_EQ(encode("\xff\xfe\xfd\xfc"), "//79/A==");
}

TEST(Utf8Test, KnowsWholeBrokenAndIncomplete) {
  EXPECT_TRUE(IsUtf8("ascii, é, €, \xF0\x9F\x8C\x8A"));
  EXPECT_FALSE(IsUtf8("\xC0\x80"));          // overlong
  EXPECT_FALSE(IsUtf8("\xED\xA0\x80"));      // a surrogate
  EXPECT_FALSE(IsUtf8("\xF4\x90\x80\x80"));  // past U+10FFFF
  EXPECT_TRUE(ScanUtf8("ab\xff").broken);
  EXPECT_FALSE(ScanUtf8("ab\xE2\x82").broken);
  EXPECT_EQ(ScanUtf8("ab\xE2\x82").valid, 2U);
}

TEST(NamesTest, AreThoseOfTheObjectItself) {
  using Names = std::vector<std::string_view>;
  EXPECT_EQ(PlainNames(R"( {"a":1,"b" : {"c":[{"d":"e"}]}, "":"x"} )"), (Names{"a", "b", ""}));
  EXPECT_EQ(PlainNames(R"({"a":"\"b\":{","c":"}"})"), (Names{"a", "c"}));
  EXPECT_EQ(PlainNames(R"({"\u0061":1,"b\"":2,"c":3})"), (Names{"c"}));
  EXPECT_EQ(PlainNames(R"(["a","b"])"), Names());
  for (const char* broken :
       {"", "{", "\"", "{\"a", "{\"a\\", "{\"a\"", "}}{\"a\":1", "[{\"a\":1}]", "\\"}) {
    EXPECT_EQ(PlainNames(broken).size(), 0U) << broken;
  }
}

TEST(Utf8Test, FindsTheTailThatMoreBytesCouldComplete) {
  EXPECT_EQ(IncompleteTail("a"), 0U);
  EXPECT_EQ(IncompleteTail("é"), 0U);
  EXPECT_EQ(IncompleteTail("a\xC3"), 1U);
  EXPECT_EQ(IncompleteTail("a\xE2\x82"), 2U);
  EXPECT_EQ(IncompleteTail("\xF0\x9F\x8C"), 3U);
  EXPECT_EQ(IncompleteTail("\xff"), 0U);
  EXPECT_EQ(IncompleteTail("\xE0\x80"), 0U);  // never a beginning of anything
  EXPECT_EQ(IncompleteTail("\x80\x80\x80\x80"), 0U);
}

}  // namespace
}  // namespace atl::json
