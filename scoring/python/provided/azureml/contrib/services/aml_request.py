"""The older name of azureml_inference_server_http.api.aml_request."""

import sys

import azureml_inference_server_http.api.aml_request as module

sys.modules[__name__] = module
