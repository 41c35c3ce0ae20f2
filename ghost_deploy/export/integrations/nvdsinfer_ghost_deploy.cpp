// Output parser for DeepStream's Gst-nvinfer, made by ghost-deploy (Apache-2.0).
//
// Reads one float output. NvDsInferParseGhostDeploy: (4 + classes, anchors), where rows 0 to 3 are the
// centre x, centre y, width and height of each box in pixels of the network's input, and the other
// rows are class scores from 0 to 1. NvDsInferParseGhostDeployAnchors: (anchors, 5 + classes), where a
// row holds the same four numbers, an objectness and class probabilities; the score is the product.
// nvinfer then does NMS by class (cluster-mode=2) and takes the letterbox away. Where
// GHOST_DEPLOY_AGNOSTIC_IOU is defined, NMS over all classes is done here (cluster-mode=4).
//
// Compile on the device:
//   g++ -shared -fPIC -O2 -std=c++14 -I /opt/nvidia/deepstream/deepstream/sources/includes
//       -I /usr/local/cuda/include nvdsinfer_ghost_deploy.cpp -o libnvdsinfer_ghost_deploy.so

#include <algorithm>
#include <cstddef>
#include <vector>

#include "nvdsinfer_custom_impl.h"

namespace {

float clamp(float value, float high) { return std::min(std::max(value, 0.0f), high); }

#ifdef GHOST_DEPLOY_AGNOSTIC_IOU
float area(NvDsInferParseObjectInfo const& box) { return box.width * box.height; }

float overlap(NvDsInferParseObjectInfo const& a, NvDsInferParseObjectInfo const& b) {
  float const width =
      std::min(a.left + a.width, b.left + b.width) - std::max(a.left, b.left);
  float const height =
      std::min(a.top + a.height, b.top + b.height) - std::max(a.top, b.top);
  if (width <= 0.0f || height <= 0.0f) {
    return 0.0f;
  }
  float const both = width * height;
  return both / (area(a) + area(b) - both);
}

// Keeps the best of overlapping boxes, whatever their classes, best first.
void suppress(std::vector<NvDsInferParseObjectInfo>& objects) {
  std::stable_sort(objects.begin(), objects.end(),
                   [](NvDsInferParseObjectInfo const& a, NvDsInferParseObjectInfo const& b) {
                     return a.detectionConfidence > b.detectionConfidence;
                   });
  std::vector<NvDsInferParseObjectInfo> kept;
  for (NvDsInferParseObjectInfo const& object : objects) {
    bool const is_free = std::all_of(
        kept.begin(), kept.end(), [&object](NvDsInferParseObjectInfo const& better) {
          return overlap(object, better) <= GHOST_DEPLOY_AGNOSTIC_IOU;
        });
    if (is_free) {
      kept.push_back(object);
    }
    if (kept.size() == GHOST_DEPLOY_MAX_DET) {
      break;
    }
  }
  objects.swap(kept);
}
#endif

// The output: value `index` of anchor `anchor` is at index * step + anchor * stride.
struct Output {
  float const* data;
  std::size_t anchors;
  std::size_t step;
  std::size_t stride;

  float at(std::size_t index, std::size_t anchor) const {
    return data[index * step + anchor * stride];
  }
};

void parse(Output const& output, bool objectness, NvDsInferNetworkInfo const& networkInfo,
           NvDsInferParseDetectionParams const& detectionParams,
           std::vector<NvDsInferParseObjectInfo>& objectList) {
  float const width = static_cast<float>(networkInfo.width);
  float const height = static_cast<float>(networkInfo.height);
  unsigned const first = objectness ? 5 : 4;

  for (std::size_t anchor = 0; anchor < output.anchors; ++anchor) {
    unsigned best = 0;
    float const factor = objectness ? output.at(4, anchor) : 1.0f;
    float score = factor * output.at(first, anchor);
    for (unsigned id = 1; id < detectionParams.numClassesConfigured; ++id) {
      float const other = factor * output.at(first + id, anchor);
      if (other > score) {
        score = other;
        best = id;
      }
    }
    if (!(score > detectionParams.perClassPreclusterThreshold[best])) {
      continue;
    }
    float const half_w = output.at(2, anchor) / 2;
    float const half_h = output.at(3, anchor) / 2;
    float const left = clamp(output.at(0, anchor) - half_w, width);
    float const top = clamp(output.at(1, anchor) - half_h, height);
    float const right = clamp(output.at(0, anchor) + half_w, width);
    float const bottom = clamp(output.at(1, anchor) + half_h, height);
    if (right <= left || bottom <= top) {
      continue;
    }
    NvDsInferParseObjectInfo object{};
    object.classId = best;
    object.left = left;
    object.top = top;
    object.width = right - left;
    object.height = bottom - top;
    object.detectionConfidence = score;
    objectList.push_back(object);
  }
#ifdef GHOST_DEPLOY_AGNOSTIC_IOU
  suppress(objectList);
#endif
}

bool is_float_matrix(std::vector<NvDsInferLayerInfo> const& layers) {
  return layers.size() == 1 && layers[0].dataType == FLOAT && layers[0].inferDims.numDims == 2;
}

}  // namespace

extern "C" bool NvDsInferParseGhostDeploy(
    std::vector<NvDsInferLayerInfo> const& outputLayersInfo,
    NvDsInferNetworkInfo const& networkInfo,
    NvDsInferParseDetectionParams const& detectionParams,
    std::vector<NvDsInferParseObjectInfo>& objectList) {
  if (!is_float_matrix(outputLayersInfo)) {
    return false;
  }
  NvDsInferDims const& dims = outputLayersInfo[0].inferDims;
  if (dims.d[0] != 4 + detectionParams.numClassesConfigured) {
    return false;
  }
  std::size_t const anchors = dims.d[1];
  float const* const data = static_cast<float const*>(outputLayersInfo[0].buffer);
  parse({data, anchors, anchors, 1}, false, networkInfo, detectionParams, objectList);
  return true;
}

extern "C" bool NvDsInferParseGhostDeployAnchors(
    std::vector<NvDsInferLayerInfo> const& outputLayersInfo,
    NvDsInferNetworkInfo const& networkInfo,
    NvDsInferParseDetectionParams const& detectionParams,
    std::vector<NvDsInferParseObjectInfo>& objectList) {
  if (!is_float_matrix(outputLayersInfo)) {
    return false;
  }
  NvDsInferDims const& dims = outputLayersInfo[0].inferDims;
  std::size_t const values = 5 + detectionParams.numClassesConfigured;
  if (dims.d[1] != values) {
    return false;
  }
  float const* const data = static_cast<float const*>(outputLayersInfo[0].buffer);
  parse({data, dims.d[0], 1, values}, true, networkInfo, detectionParams, objectList);
  return true;
}
