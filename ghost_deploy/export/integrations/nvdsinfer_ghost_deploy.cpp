// Output parser for DeepStream's Gst-nvinfer, made by ghost-deploy (Apache-2.0).
//
// Reads one float output of (4 + classes, anchors): rows 0 to 3 are the centre x, centre y, width
// and height of each box in pixels of the network's input, the other rows are class scores from 0
// to 1. nvinfer then does NMS by class (cluster-mode=2) and takes the letterbox away. Where
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

}  // namespace

extern "C" bool NvDsInferParseGhostDeploy(
    std::vector<NvDsInferLayerInfo> const& outputLayersInfo,
    NvDsInferNetworkInfo const& networkInfo,
    NvDsInferParseDetectionParams const& detectionParams,
    std::vector<NvDsInferParseObjectInfo>& objectList) {
  if (outputLayersInfo.size() != 1 || outputLayersInfo[0].dataType != FLOAT) {
    return false;
  }
  NvDsInferDims const& dims = outputLayersInfo[0].inferDims;
  unsigned const classes = detectionParams.numClassesConfigured;
  if (dims.numDims != 2 || dims.d[0] != 4 + classes) {
    return false;
  }
  std::size_t const anchors = dims.d[1];
  float const* const data = static_cast<float const*>(outputLayersInfo[0].buffer);
  float const width = static_cast<float>(networkInfo.width);
  float const height = static_cast<float>(networkInfo.height);

  for (std::size_t anchor = 0; anchor < anchors; ++anchor) {
    unsigned best = 0;
    float score = data[4 * anchors + anchor];
    for (unsigned id = 1; id < classes; ++id) {
      float const other = data[(4 + id) * anchors + anchor];
      if (other > score) {
        score = other;
        best = id;
      }
    }
    if (!(score > detectionParams.perClassPreclusterThreshold[best])) {
      continue;
    }
    float const half_w = data[2 * anchors + anchor] / 2;
    float const half_h = data[3 * anchors + anchor] / 2;
    float const left = clamp(data[anchor] - half_w, width);
    float const top = clamp(data[anchors + anchor] - half_h, height);
    float const right = clamp(data[anchor] + half_w, width);
    float const bottom = clamp(data[anchors + anchor] + half_h, height);
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
  return true;
}
