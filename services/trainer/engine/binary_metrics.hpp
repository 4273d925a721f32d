#pragma once

#include <map>
#include <span>
#include <string>

namespace troupe::trainer {

/// What logits say of labels that are 0 or 1: auc (the chance that one of label 1 stands above one of label
/// 0, equal logits half), log_loss (mean, natural logarithm), calibration (mean probability / mean label),
/// rate (mean label). What there are no labels for is left out: auc without both,
/// calibration without label 1, everything without rows.
std::map<std::string, double> binary_metrics(std::span<const float> logits, std::span<const float> labels);

} // namespace troupe::trainer
