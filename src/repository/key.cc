// SPDX-License-Identifier: Apache-2.0
#include "repository/key.h"

#include <openssl/crypto.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <boost/json.hpp>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "crypto/base64.h"
#include "crypto/bytes.h"
#include "crypto/scrypt.h"
#include "json/writer.h"
#include "repository/chunker.h"
#include "repository/compression.h"
#include "repository/corrupt.h"
#include "repository/tree.h"

namespace atl::repository {
namespace {

constexpr size_t kSaltBytes = 64;
constexpr size_t kMaxSmallJson = 64U << 10U;
constexpr unsigned char kCompressedVersion = 2;
constexpr int kPolynomialDegree = 53;

// scrypt takes 128 * n * r bytes and works on them p times.
constexpr uint64_t kMaxScryptMemory = 256ULL << 20U;
constexpr uint64_t kMaxScryptWork = 8ULL << 30U;

Unexpected Broken(std::string_view what, std::string_view why) {
  return FailCorrupt(std::string(what).append(": ").append(why));
}

Result<boost::json::object> ParseObject(std::string_view text, std::string_view what) {
  if (text.size() > kMaxSmallJson) return Broken(what, "it is too long");
  boost::json::parse_options options;
  options.max_depth = 8;
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(text, error, {}, options);
  if (error) return Broken(what, "it is not JSON");
  if (!value.is_object()) return Broken(what, "it is no JSON object");
  return std::move(value.as_object());
}

std::string_view TextOf(const boost::json::object& object, std::string_view name) {
  const boost::json::value* value = object.if_contains(name);
  const boost::json::string* text = value != nullptr ? value->if_string() : nullptr;
  return text != nullptr ? std::string_view(*text) : std::string_view();
}

std::optional<uint32_t> NumberOf(const boost::json::object& object, std::string_view name) {
  const boost::json::value* value = object.if_contains(name);
  if (value == nullptr) return std::nullopt;
  boost::system::error_code error;
  auto number = value->to_number<uint32_t>(error);
  if (error) return std::nullopt;
  return number;
}

// Exactly as many bytes as `to` has, not all of them zero: such a key is none.
template <size_t N>
bool ReadKey(const boost::json::object& object, std::string_view name,
             std::array<unsigned char, N>& to) {
  auto bytes = crypto::Base64Decode(TextOf(object, name));
  if (!bytes || bytes->size() != N) return false;
  std::memcpy(to.data(), bytes->data(), N);
  OPENSSL_cleanse(bytes->data(), bytes->size());
  return std::ranges::any_of(to, [](unsigned char byte) { return byte != 0; });
}

template <size_t N>
std::string_view View(const std::array<unsigned char, N>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), N};
}

bool Affordable(const ScryptParams& params) {
  uint64_t memory = 128ULL * params.n * params.r;
  bool power_of_two = params.n > 1 && (params.n & (params.n - 1)) == 0;
  return power_of_two && params.r > 0 && params.p > 0 && params.r <= 1024 && params.p <= 1024 &&
         params.n <= kMaxScryptMemory && memory <= kMaxScryptMemory &&
         memory * params.p <= kMaxScryptWork;
}

Result<Key> Derive(std::string_view password, std::string_view salt, const ScryptParams& params) {
  std::array<unsigned char, 64> derived{};
  TRY(crypto::Scrypt(password, salt, params.n, params.r, params.p, derived));
  Key key = Key::FromBytes(derived);
  OPENSSL_cleanse(derived.data(), derived.size());
  return key;
}

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

std::string UserName() {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 &&
      found != nullptr) {
    return found->pw_name;
  }
  return std::to_string(geteuid());
}

std::string Now() {
  auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count();
  return FormatTime(
      {.seconds = nanos / 1'000'000'000, .nanos = static_cast<uint32_t>(nanos % 1'000'000'000)});
}

}  // namespace

std::string Key::ToJson() const {
  json::Writer writer;
  writer.BeginObject().Key("mac").BeginObject();
  writer.Field("k", crypto::Base64Encode(View(mac_k_)));
  writer.Field("r", crypto::Base64Encode(View(mac_r_)));
  writer.EndObject();
  writer.Field("encrypt", crypto::Base64Encode(View(encrypt_)));
  writer.EndObject();
  return writer.Take();
}

Result<Key> Key::FromJson(std::string_view json) {
  ASSIGN(auto object, ParseObject(json, "the master key"));
  const boost::json::value* mac = object.if_contains("mac");
  Key key;
  bool good = mac != nullptr && mac->is_object() && ReadKey(mac->get_object(), "k", key.mac_k_) &&
              ReadKey(mac->get_object(), "r", key.mac_r_) &&
              ReadKey(object, "encrypt", key.encrypt_);
  if (!good) return Broken("the master key", "a part is missing or of another length");
  return key;
}

KeyFile KeyFile::Make(const Key& master, std::string_view password, ScryptParams params) {
  KeyFile file{.hostname = HostName(),
               .username = UserName(),
               .created = Now(),
               .params = params,
               .salt = std::string(kSaltBytes, 0),
               .data = {}};
  crypto::FillRandom(
      std::span(reinterpret_cast<unsigned char*>(file.salt.data()), file.salt.size()));
  auto user = Derive(password, file.salt, params);
  // The parameters are the program's own here.
  if (!user) std::abort();
  std::string json = master.ToJson();
  user->Seal(json, file.data);
  OPENSSL_cleanse(json.data(), json.size());
  return file;
}

Result<Key> KeyFile::Unlock(std::string_view password) const {
  if (!Affordable(params)) return Broken("the key file", "scrypt's parameters are out of bounds");
  ASSIGN(Key user, Derive(password, salt, params));
  std::string json;
  if (!user.Open(data, json)) {
    return Fail(Code::kPermissionDenied, "the password does not open this repository",
                "REPOSITORY_PASSWORD_WRONG");
  }
  auto master = Key::FromJson(json);
  OPENSSL_cleanse(json.data(), json.size());
  return master;
}

std::string KeyFile::ToJson() const {
  json::Writer writer;
  writer.BeginObject();
  writer.Field("created", created).Field("username", username).Field("hostname", hostname);
  writer.Field("kdf", "scrypt");
  writer.Field("N", params.n).Field("r", params.r).Field("p", params.p);
  writer.Field("salt", crypto::Base64Encode(salt)).Field("data", crypto::Base64Encode(data));
  writer.EndObject();
  return writer.Take();
}

Result<KeyFile> KeyFile::FromJson(std::string_view json) {
  constexpr std::string_view kWhat = "the key file";
  ASSIGN(auto object, ParseObject(json, kWhat));
  if (TextOf(object, "kdf") != "scrypt") return Broken(kWhat, "its kdf is not scrypt");
  KeyFile file{.hostname = std::string(TextOf(object, "hostname")),
               .username = std::string(TextOf(object, "username")),
               .created = std::string(TextOf(object, "created")),
               .params = {},
               .salt = {},
               .data = {}};
  file.params = {.n = NumberOf(object, "N").value_or(0),
                 .r = NumberOf(object, "r").value_or(0),
                 .p = NumberOf(object, "p").value_or(0)};
  if (!Affordable(file.params)) return Broken(kWhat, "scrypt's parameters are out of bounds");
  auto salt = crypto::Base64Decode(TextOf(object, "salt"));
  if (!salt || salt->size() != kSaltBytes) return Broken(kWhat, "its salt is not 64 bytes");
  auto data = crypto::Base64Decode(TextOf(object, "data"));
  if (!data || data->size() <= kSealOverhead) return Broken(kWhat, "it holds no key");
  file.salt = std::move(*salt);
  file.data = std::move(*data);
  return file;
}

RepositoryConfig RepositoryConfig::Random() {
  return {.version = 2, .id = crypto::RandomHex(32), .chunker_polynomial = RandomPolynomial()};
}

std::string RepositoryConfig::ToJson() const {
  std::array<char, 16> hex{};
  auto end = std::to_chars(hex.data(), hex.data() + hex.size(), chunker_polynomial, 16).ptr;
  json::Writer writer;
  writer.BeginObject().Field("version", version).Field("id", id);
  writer.Field("chunker_polynomial", std::string_view(hex.data(), end)).EndObject();
  return writer.Take();
}

Result<RepositoryConfig> RepositoryConfig::FromJson(std::string_view json) {
  constexpr std::string_view kWhat = "the repository's config";
  ASSIGN(auto object, ParseObject(json, kWhat));
  auto version = NumberOf(object, "version");
  if (!version) return Broken(kWhat, "it has no version");
  if (*version != 2) {
    return Fail(Code::kFailedPrecondition,
                "the repository has format version " + std::to_string(*version) +
                    "; only version 2 is supported",
                "REPOSITORY_VERSION");
  }
  RepositoryConfig config{.version = *version, .id = std::string(TextOf(object, "id"))};
  if (!crypto::IsHex(config.id, 64)) return Broken(kWhat, "its id is not 64 hex digits");
  std::string_view hex = TextOf(object, "chunker_polynomial");
  const char* end = hex.data() + hex.size();
  auto parsed = std::from_chars(hex.data(), end, config.chunker_polynomial, 16);
  bool good = parsed.ec == std::errc() && parsed.ptr == end &&
              std::bit_width(config.chunker_polynomial) == kPolynomialDegree + 1 &&
              IsIrreducible(config.chunker_polynomial);
  if (!good) return Broken(kWhat, "its polynomial is not irreducible of degree 53");
  return config;
}

std::string EncodeUnpacked(std::string_view json) {
  std::string encoded(1, static_cast<char>(kCompressedVersion));
  // Without a limit it always fits.
  AppendCompressed(json, std::numeric_limits<size_t>::max(), encoded);
  return encoded;
}

Result<std::string> DecodeUnpacked(std::string_view plain, size_t limit) {
  if (plain.empty()) return FailCorrupt("the file is empty");
  if (plain.front() == '{' || plain.front() == '[') {
    if (plain.size() > limit) return FailCorrupt("the file is longer than such a file may be");
    return std::string(plain);
  }
  if (static_cast<unsigned char>(plain.front()) != kCompressedVersion) {
    return FailCorrupt("the file has an unknown encoding");
  }
  return Decompress(plain.substr(1), limit);
}

}  // namespace atl::repository
