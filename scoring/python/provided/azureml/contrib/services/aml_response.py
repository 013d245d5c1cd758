"""The older name of azureml_inference_server_http.api.aml_response."""

import sys

import azureml_inference_server_http.api.aml_response as module

sys.modules[__name__] = module
