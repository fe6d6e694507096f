# Writes OUTPUT, a .cc with the text of DIR/*.sql, and of NEXT behind them if it is given.
file(GLOB files ${DIR}/*.sql)
list(SORT files)
set(entries "")
set(expected 1)
foreach(file ${files})
  get_filename_component(name ${file} NAME_WE)
  if(NOT name MATCHES "^0*([0-9]+)_")
    message(FATAL_ERROR "${file}: a migration is named <number>_<what>.sql")
  endif()
  if(NOT CMAKE_MATCH_1 EQUAL expected)
    message(FATAL_ERROR "${file}: expected number ${expected}")
  endif()
  file(READ ${file} text)
  string(APPEND entries "    {\"${name}\", R\"sql(${text})sql\"},\n")
  math(EXPR expected "${expected} + 1")
endforeach()
if(NEXT)
  file(READ ${NEXT} text)
  string(APPEND entries "    {\"next\", R\"sql(${text})sql\"},\n")
endif()
file(WRITE ${OUTPUT} "#include \"db/migrations.h\"

namespace atl::db {
namespace {
constexpr Migration kMigrations[] = {
${entries}};
}  // namespace

std::span<const Migration> Migrations() { return kMigrations; }
}  // namespace atl::db
")
