#include "services/cli/user_simulator.hpp"

#include "services/cli/record_files.hpp"

#include <charconv>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace troupe::cli {

namespace {

std::optional<std::uint64_t> number_in(std::string_view id, char letter, std::uint64_t below) {
  std::uint64_t out = 0;
  if (!id.starts_with(letter))
    return std::nullopt;
  auto [end, err] = std::from_chars(id.data() + 1, id.data() + id.size(), out);
  if (err != std::errc{} || end != id.data() + id.size() || out >= below)
    return std::nullopt;
  return out;
}

class synthetic_users final : public user_simulator {
public:
  explicit synthetic_users(const synthetic_data::settings& config) : laws_{config} {}

  std::string draw_user(synthetic_data::random& source) const override {
    return synthetic_data::preference_model::user_id(laws_.draw_user(source));
  }

  std::optional<double> click_probability(std::string_view user, std::string_view item,
                                          unsigned position) const override {
    auto user_number = number_in(user, 'u', laws_.of().users),
         item_number = number_in(item, 'i', laws_.of().items);
    if (!user_number || !item_number)
      return std::nullopt;
    return laws_.click_probability(*user_number, *item_number, position, laws_.of().start);
  }

private:
  synthetic_data::preference_model laws_;
};

class held_out_users final : public user_simulator {
public:
  void add(const record& event) {
    auto& taken = taken_[event.user];
    comers_.push_back(event.user);
    taken.insert(event.item);
  }

  bool empty() const noexcept { return comers_.empty(); }

  std::string draw_user(synthetic_data::random& source) const override {
    return comers_[source.below(comers_.size())];
  }

  std::optional<double> click_probability(std::string_view user, std::string_view item,
                                          unsigned position) const override {
    constexpr double wanted = 0.8, unwanted = 0.02;
    auto taken = taken_.find(std::string{user});
    bool wants = taken != taken_.end() && taken->second.contains(std::string{item});
    return (wants ? wanted : unwanted) / (1.0 + 0.5 * (position - 1));
  }

private:
  std::unordered_map<std::string, std::unordered_set<std::string>> taken_;
  std::vector<std::string> comers_; ///< The user of every event.
};

} // namespace

std::unique_ptr<user_simulator> simulate_synthetic_users(const synthetic_data::settings& config) {
  return std::make_unique<synthetic_users>(config);
}

expected<std::unique_ptr<user_simulator>> simulate_held_out_users(const std::string& path,
                                                                  const std::string& mapping) {
  auto made = std::make_unique<held_out_users>();
  TROUPE_CHECK(read_records(path, mapping, [&](const record_rows& rows) -> expected<void> {
    for (const auto& each : rows.records)
      if (each.kind == record_kind::event && check(each))
        made->add(each);
    return {};
  }));
  if (made->empty())
    return fail(ec::invalid_argument, "{} holds no events: nobody would come", path);
  return std::unique_ptr<user_simulator>{std::move(made)};
}

} // namespace troupe::cli
