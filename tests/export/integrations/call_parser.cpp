// A plain C door to the parser: returns the number of objects, -1 if it refused the output.
#include <cstddef>

#include "nvdsinfer_custom_impl.h"

extern "C" bool NvDsInferParseGhostDeploy(std::vector<NvDsInferLayerInfo> const&,
                                          NvDsInferNetworkInfo const&,
                                          NvDsInferParseDetectionParams const&,
                                          std::vector<NvDsInferParseObjectInfo>&);
extern "C" bool NvDsInferParseGhostDeployAnchors(std::vector<NvDsInferLayerInfo> const&,
                                                 NvDsInferNetworkInfo const&,
                                                 NvDsInferParseDetectionParams const&,
                                                 std::vector<NvDsInferParseObjectInfo>&);

extern "C" int call_parser(bool anchor_rows, float* data, unsigned rows, unsigned columns,
                           unsigned classes, float threshold, unsigned width, unsigned height,
                           float* found) {
  NvDsInferLayerInfo layer{};
  layer.dataType = FLOAT;
  layer.inferDims.numDims = 2;
  layer.inferDims.d[0] = rows;
  layer.inferDims.d[1] = columns;
  layer.buffer = data;
  NvDsInferParseDetectionParams parameters{};
  parameters.numClassesConfigured = classes;
  parameters.perClassPreclusterThreshold.assign(classes, threshold);
  std::vector<NvDsInferParseObjectInfo> objects;
  auto const parse =
      anchor_rows ? NvDsInferParseGhostDeployAnchors : NvDsInferParseGhostDeploy;
  if (!parse({layer}, {width, height, 3}, parameters, objects)) {
    return -1;
  }
  for (std::size_t i = 0; i < objects.size(); ++i) {
    float* row = found + 6 * i;
    row[0] = objects[i].left;
    row[1] = objects[i].top;
    row[2] = objects[i].left + objects[i].width;
    row[3] = objects[i].top + objects[i].height;
    row[4] = objects[i].detectionConfidence;
    row[5] = static_cast<float>(objects[i].classId);
  }
  return static_cast<int>(objects.size());
}
