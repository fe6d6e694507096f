// SPDX-License-Identifier: Apache-2.0
#include "blob/s3_xml.h"

#include <gtest/gtest.h>

namespace atl::blob {
namespace {

TEST(S3Xml, GivesElementsAndTheirText) {
  auto document = ParseXml(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<List xmlns=\"urn:x\"> <Key>a &amp; "
      "&#228;</Key><Owner><ID>1</ID></Owner><Empty/></List>",
      "List");
  ASSERT_TRUE(document) << document.error().message;
  EXPECT_EQ(document->Text("Key"), "a & \xc3\xa4");
  EXPECT_EQ(document->Find("Owner")->Text("ID"), "1");
  EXPECT_EQ(document->Text("Empty"), "");
  EXPECT_EQ(document->Find("ID"), nullptr);
}

TEST(S3Xml, RefusesWhatIsNotWholeOrNotMeant) {
  for (const char* text : {"", "no", "<List>", "<List></Lisp>", "<List/><List/>", "<Other/>",
                           "<List>&what;</List>", "<List>\xff</List>", "<List a=b/>"}) {
    auto document = ParseXml(text, "List");
    ASSERT_FALSE(document) << text;
    EXPECT_EQ(document.error().reason, "STORE_BAD_ANSWER");
  }
}

TEST(S3Xml, RefusesWhatWouldGrow) {
  EXPECT_FALSE(ParseXml("<!DOCTYPE List [<!ENTITY a \"aaaa\">]><List>&a;</List>", "List"));
  EXPECT_FALSE(ParseXml("<!DOCTYPE List SYSTEM \"file:///etc/passwd\"><List/>", "List"));
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "<List>";
  EXPECT_FALSE(ParseXml(deep, "List"));
  std::string many = "<List>";
  for (int i = 0; i < 200'000; ++i) many += "<a/>";
  EXPECT_FALSE(ParseXml(many + "</List>", "List"));
  EXPECT_FALSE(ParseXml("<List>" + std::string(9 << 20, 'x') + "</List>", "List"));
}

TEST(S3Xml, WhatIsEscapedComesBack) {
  std::string text = "a<b>&\"c\"";
  EXPECT_EQ(ParseXml("<x>" + XmlEscape(text) + "</x>", "x")->text, text);
}

}  // namespace
}  // namespace atl::blob
