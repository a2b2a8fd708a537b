/*
 * docs_asset.h - files of Swagger UI inside the program; the table is made by the build
 * (cmake/SwaggerUi.cmake) and is empty when it could not fetch them.
 */
#ifndef CP_DOCS_ASSET_H
#define CP_DOCS_ASSET_H

#include <stddef.h>

struct docs_asset {
	const char *name, *type;
	const unsigned char *plain, *plain_end, *gzip, *gzip_end;
};

extern const struct docs_asset docs_assets[];
extern const size_t docs_assets_count;

#endif
