// SPDX-License-Identifier: MIT
//
// y += a * x, by the device, through this process's own pointers.
//
//	$ devmodel cc -std=c++20 saxpy.cc -o saxpy
//	$ devmodel run private -- sh -c 'cat >saxpy; chmod +x saxpy; ./saxpy' <saxpy
#include <cstddef>
#include <iostream>
#include <numeric>
#include <stdexcept>
#include <vector>

#include <libdevmodel.h>

// A device, for as long as this object lives.
class Device {
public:
	Device() : fd(checked(devmodel_open(nullptr))) {}
	~Device() { devmodel_close(fd); }
	Device(const Device &) = delete;
	Device &operator=(const Device &) = delete;

	template <typename... Args>
	unsigned long long run(const char *program, Args... args)
	{
		struct devmodel_wait end;

		checked(devmodel_run(fd, &end, program, args...));
		return end.result[0];
	}

	struct devmodel_info info()
	{
		struct devmodel_info found;

		checked(devmodel_info(fd, &found));
		return found;
	}

	struct devmodel_stats stats()
	{
		struct devmodel_stats found;

		checked(devmodel_stats(fd, &found));
		return found;
	}

private:
	static int checked(int result)
	{
		if (result < 0)
			throw std::runtime_error(devmodel_error());
		return result;
	}

	int fd;
};

int main()
try {
	std::vector<float> x(100000), y(x.size(), 1);
	Device device;

	std::iota(x.begin(), x.end(), 0.f);
	const auto count = device.run("saxpy", y.data(), x.data(), x.size(),
				      devmodel_float_bits(2.5f));
	for (std::size_t i = 0; i < y.size(); i++)
		if (y[i] != 2.5f * x[i] + 1)
			throw std::runtime_error("y[" + std::to_string(i) + "] is wrong");
	std::cout << devmodel_model_name(devmodel_model(device.info().model)) << ": " << count
		  << " numbers, " << device.stats().my_device_faults << " device faults\n";
} catch (const std::exception &error) {
	std::cerr << "saxpy: " << error.what() << '\n';
	return 1;
}
