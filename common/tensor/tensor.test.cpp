#include "common/core/file.hpp"
#include "common/tensor/blas_kernels.hpp"
#include "common/tensor/safetensors.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

using namespace troupe;
using tensor::tensor_file;

namespace {

std::string file_of(std::string header, std::size_t data) {
  std::uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out + header + std::string(data, 'x');
}

std::string refusal(std::string bytes) {
  auto read = tensor_file::parse(chunk::own(std::move(bytes)), "t.safetensors");
  return read ? "" : read.error().text;
}

bool refused(std::string bytes, std::string_view because) {
  auto said = refusal(std::move(bytes));
  CAPTURE(said);
  return said.find(because) != std::string::npos;
}

} // namespace

TEST_CASE("tensors are read back as they were written, and the same tensors give the same bytes") {
  testing::temp_dir dir;
  std::vector<float> a{1.5f, -2, 3, 4, 5, 6};
  std::vector<std::int64_t> b{7, 8};
  std::map<std::string, tensor::tensor_view, std::less<>> tensors{
      {"a", {tensor::dtype::f32, {2, 3}, std::as_bytes(std::span{a})}},
      {"b\"", {tensor::dtype::i64, {2}, std::as_bytes(std::span{b})}},
      {"none", {tensor::dtype::u8, {0}, {}}}};

  auto bytes = tensor::encode_safetensors(tensors, {{"kind", "test"}});
  REQUIRE(bytes);
  REQUIRE(write_file_atomically(dir / "t", as_bytes(*bytes)));
  auto read = tensor_file::open(dir / "t");

  REQUIRE(read);
  CHECK(read->metadata().at("kind") == "test");
  CHECK(*read->find("a")->values<float>() == a);
  CHECK(*read->find("b\"")->values<std::int64_t>() == b);
  CHECK(read->find("none")->elements() == 0);
  CHECK(!read->find("a")->values<std::int32_t>());
  CHECK(read->get("a", {0, 3}));
  CHECK(!read->get("a", {3, 2}));
  CHECK(*tensor::encode_safetensors(read->tensors(), read->metadata()) == *bytes);
}

TEST_CASE("numbers are used where they lie, and a tensor that is not what is wanted is refused by name") {
  std::string odd =
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"f":{"dtype":"F32","shape":[2],"data_offsets":[2,10]}})";
  odd.append(8 - odd.size() % 8, ' ');
  auto file = tensor_file::parse(chunk::own(file_of(odd, 10)), "w.safetensors");
  REQUIRE(file);
  std::vector<float> numbers{1, 2, 3, 4};
  auto bytes = tensor::encode_safetensors(
      {{"a", {tensor::dtype::f32, {2, 2}, std::as_bytes(std::span{numbers})}}}, {});
  auto good = tensor_file::parse(chunk::own(*bytes), "good.safetensors");
  REQUIRE(good);

  auto a = good->span<float>("a", {0, 2});
  REQUIRE(a);
  CHECK(std::vector<float>(a->begin(), a->end()) == numbers);
  CHECK(static_cast<const void*>(a->data()) == good->find("a")->bytes.data());
  CHECK(good->length_of("a", 1) == 2);
  CHECK(good->has("a"));

  auto text = [](const auto& result) { return result ? std::string{} : result.error().text; };
  CHECK(text(good->span<float>("a", {3, 2})) ==
        "the tensor a in good.safetensors has the shape [2, 2], wanted is [3, 2]");
  CHECK(text(good->span<std::int32_t>("a", {2, 2})) ==
        "the tensor a in good.safetensors holds F32, wanted is I32");
  CHECK(text(file->span<float>("f", {2})) == "the tensor f in w.safetensors is not aligned to its elements");
  CHECK(text(good->span<float>("b", {1})) == "good.safetensors holds no tensor b");
  CHECK(text(good->length_of("a", 2)) == "the tensor a in good.safetensors has no dimension 2");
}

TEST_CASE("files that lie about themselves are refused with the reason") {
  CHECK(refused("", "too few"));
  CHECK(refused(std::string(8, '\xff'), "longer than"));
  CHECK(refused(file_of("{}", 0).substr(0, 9), "takes 2 bytes"));
  CHECK(refused(file_of("[1]", 0), "not a JSON object"));
  CHECK(refused(file_of("{\"a\":", 0), "not JSON"));
  CHECK(refused(file_of(R"({"a":1})", 0), "not an object"));
  CHECK(refused(file_of(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "lacks"));
  CHECK(refused(file_of(R"({"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}})", 4), "unknown type"));
  CHECK(
      refused(file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4), "its shape needs 8"));
  CHECK(refused(file_of(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4), "whole number"));
  CHECK(refused(file_of(R"({"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,4]}})", 4),
                "too large"));
  CHECK(refused(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3), "the file holds 3"));
  CHECK(refused(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5), "behind the last"));
  CHECK(refused(
      file_of(
          R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
          6),
      "begins at byte 2"));
  CHECK(refused(
      file_of(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
          2),
      "twice"));
  CHECK(refusal(file_of("{}", 0)).empty());
}

TEST_CASE("a processor gets the kernels of its vector width") {
  CHECK(tensor::blas_kernels_for(true, true) == "SkylakeX");
  CHECK(tensor::blas_kernels_for(false, true) == "Haswell");
  CHECK(tensor::blas_kernels_for(false, false).empty());
}

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): nobody writes the environment
  return value ? value : "";
}

constexpr const char* started_again = "a program that was started again has the environment that was chosen";

/// Whether the test case above passes in this program, started with these variables and started again by
/// choose_blas_kernels for three threads.
bool passes_again(const std::vector<std::pair<const char*, const char*>>& environment) {
  auto child = ::fork();
  if (child == 0) {
    // NOLINTBEGIN(concurrency-mt-unsafe): a process of one thread
    for (auto [name, value] : environment)
      ::setenv(name, value, 1);
    // NOLINTEND(concurrency-mt-unsafe)
    auto filter = std::string{"--test-case="} + started_again;
    std::string words[]{"tensor_test", "--no-skip", filter};
    char* argv[]{words[0].data(), words[1].data(), words[2].data(), nullptr};
    // What it says is not what this program says.
    if (auto nothing = ::open("/dev/null", O_WRONLY); nothing >= 0)
      ::dup2(nothing, STDOUT_FILENO);
    tensor::choose_blas_kernels(argv, 3);
    ::_exit(9); // It was not started again.
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

} // namespace

TEST_CASE("a program that was started again has the environment that was chosen" * doctest::skip()) {
  auto got = tensor::choose_blas_kernels(nullptr, 0);

  CHECK(got.threads == variable("EXPECT_THREADS"));
  CHECK(got.by_user == (variable("EXPECT_BY_USER") == "yes"));
  CHECK(variable("OMP_WAIT_POLICY") == variable("EXPECT_POLICY"));
}

TEST_CASE(
    "OpenMP's team waits passively and OpenBLAS has the threads asked for, unless the user said otherwise") {
  CHECK(passes_again({{"EXPECT_THREADS", "3"}, {"EXPECT_POLICY", "passive"}}));
  CHECK(passes_again({{"OMP_WAIT_POLICY", "active"},
                      {"OPENBLAS_NUM_THREADS", "7"},
                      {"OPENBLAS_CORETYPE", "Haswell"},
                      {"EXPECT_THREADS", "7"},
                      {"EXPECT_BY_USER", "yes"},
                      {"EXPECT_POLICY", "active"}}));
  CHECK(!passes_again({{"EXPECT_THREADS", "4"}, {"EXPECT_POLICY", "passive"}}));
}
