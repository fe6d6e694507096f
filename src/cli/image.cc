// SPDX-License-Identifier: Apache-2.0
#include "oci/image.h"

#include <fmt/format.h>
#include <unistd.h>

#include "cli/verbs.h"
#include "db/database.h"
#include "json/writer.h"
#include "sys/fd.h"

namespace atl::cli {
namespace {

Result<std::string> FindRecipe(const std::string& name) {
  std::string build = fmt::format("images/{}/build.sh", name);
  Result<std::string> found = FindShared(build);
  if (found) return found->substr(0, found->rfind('/'));
  return Fail(Code::kNotFound,
              fmt::format("no recipe for image {}: {} does not exist; name one with --recipe", name,
                          build));
}

Result<std::string> UserOf(const daemon::Config& config, const std::string& image) {
  std::string path = config.state_dir + "/atoll.db";
  if (::access(path.c_str(), F_OK) != 0) return std::string();
  ASSIGN(auto database, db::Database::Open(path, db::Database::Mode::kReadOnly));
  ASSIGN(db::Transaction transaction, database->Begin());
  // Members of the warm pool are nobody's, and are replaced.
  ASSIGN(db::Statement statement,
         transaction.Prepare(
             "SELECT id FROM sandboxes WHERE image = ?1 AND id NOT LIKE '~%' LIMIT 1"));
  TRY(statement.Bind(std::string_view(image)));
  ASSIGN(bool found, statement.Step());
  return found ? statement.Text(0) : std::string();
}

Result<void> RequireUnused(const daemon::Config& config, const std::string& image) {
  ASSIGN(std::string user, UserOf(config, image));
  if (user.empty()) return {};
  return Fail(Code::kFailedPrecondition,
              fmt::format("image {} is in use by sandbox {}; remove that first: atoll rm {}", image,
                          user, user));
}

void AppendImage(json::Writer& writer, const oci::Image& image) {
  writer.BeginObject()
      .Field("name", image.name)
      .Field("created", image.created)
      .Field("bytes", image.bytes)
      .Field("files", image.files)
      .EndObject();
}

}  // namespace

Result<int> ImageBuild(const Globals& globals, const std::string& name, std::string recipe,
                       bool replace) {
  ASSIGN(daemon::Config config, ConfigOf(globals));
  if (recipe.empty()) {
    ASSIGN(recipe, FindRecipe(name));
  }
  TRY(sys::MakeDirs(config.images_dir));
  oci::ImageStore store(config.images_dir);
  // Sandboxes look through to their image: another root would appear below them. Asked before the
  // minutes of a build and after.
  auto unused = [&] { return RequireUnused(config, name); };
  if (replace) TRY(unused());
  ASSIGN(oci::Image image, store.Build(name, recipe, STDERR_FILENO, replace, unused));
  if (globals.json) {
    json::Writer writer;
    AppendImage(writer, image);
    fmt::print("{}\n", writer.Take());
  } else {
    fmt::print("Image {} is ready: {} files, {} MB\n", image.name, image.files,
               image.bytes / 1'000'000);
  }
  return 0;
}

Result<int> ImageList(const Globals& globals) {
  ASSIGN(daemon::Config config, ConfigOf(globals));
  ASSIGN(std::vector<oci::Image> images, oci::ImageStore(config.images_dir).List());
  if (globals.json) {
    json::Writer writer;
    writer.BeginObject().Key("images").BeginArray();
    for (const oci::Image& image : images) AppendImage(writer, image);
    writer.EndArray().EndObject();
    fmt::print("{}\n", writer.Take());
    return 0;
  }
  fmt::print("{:<24} {:>9} {:>8}  {}\n", "NAME", "SIZE", "FILES", "CREATED");
  for (const oci::Image& image : images) {
    fmt::print("{:<24} {:>6} MB {:>8}  {}\n", image.name, image.bytes / 1'000'000, image.files,
               image.created);
  }
  return 0;
}

Result<int> ImageRemove(const Globals& globals, const std::string& name) {
  ASSIGN(daemon::Config config, ConfigOf(globals));
  TRY(RequireUnused(config, name));
  TRY(oci::ImageStore(config.images_dir).Remove(name));
  return 0;
}

}  // namespace atl::cli
