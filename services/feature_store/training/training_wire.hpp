#pragma once

#include "services/feature_store/training/training_set_repository.hpp"

#include "common/core/bytes.hpp"

#include <cstdint>
#include <vector>

namespace troupe::feature_store {

/// The bytes of a wire::TrainingPage.
chunk encode_page(std::uint64_t offset, const training_set_repository::page& from);

/// The bytes of a wire::TrainingListPage.
chunk encode_list(const std::vector<training_set_repository::entry>& sets, bool last);

/// The bytes of a wire::KeptTraining.
chunk encode_kept(const training_set_repository::entry& from);

} // namespace troupe::feature_store
